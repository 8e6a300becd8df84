// A base model on disk: a Hugging Face folder (bf16, fp16, fp32 or bitsandbytes' 4 bits) or a GGUF file, whose weights are
// read one by one by their Hugging Face names.
//
// Reading maps files; nothing is copied until it is asked for, and drop() lets the pages go again, so that going through
// a model needs the memory of one weight. Names of language models nested in others ("model.language_model.layers...",
// "language_model.model.layers...") are given as those of the language model itself.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "io/gguf.h"
#include "nn/model_config.h"
#include "quant/layout.h"
#include "tensor/torch.h"

namespace nibble::io {

class WeightSource {
 public:
  virtual ~WeightSource() = default;

  const nn::ModelConfig& config() const { return config_; }
  const std::filesystem::path& path() const { return path_; }  // the folder, or the GGUF file

  // Every weight, in the order in which the files hold them.
  virtual const std::vector<std::string>& names() const = 0;
  virtual bool has(const std::string& name) const = 0;
  // The name that the folder itself uses for a weight.
  virtual std::string stored_name(const std::string& name) const = 0;
  virtual std::vector<int64_t> shape(const std::string& name) const = 0;  // THROWS FormatError: not there

  // The weight as bf16, fp16 or fp32; where it can be, a view of the file that must not be written to and lives as long as
  // the source. GGUF weights are decoded to fp32 and rounded to bf16; 4-bit ones are decoded to bf16.
  // THROWS FormatError: not there, or of another dtype.
  virtual Tensor read(const std::string& name) const = 0;

  // Whether the file holds the weight in bitsandbytes' 4 bits; and that weight. THROWS FormatError
  virtual bool is_packed(const std::string& name) const = 0;
  virtual quant::QuantizedWeight read_packed(const std::string& name) const = 0;
  // As read_packed, but views of the file where they can be: not to be written to, and alive as long as the source.
  virtual quant::QuantizedWeight view_packed(const std::string& name) const { return read_packed(name); }
  // Whether all values are known to be finite, so that nobody needs to look.
  virtual bool verified() const { return false; }
  // Whether an address is in a mapped file of the source's, so that what lies there is a view.
  virtual bool holds(const void*) const { return false; }

  // Where a weight lies: its file and first byte.
  virtual Place place(const std::string& name) const = 0;
  // THROWS FormatError where a file was written to since it was opened, so that what was read may be of two models.
  virtual void expect_unchanged() const {}

  // Lets the pages of a weight leave the process's resident memory. Views of it stay valid.
  virtual void drop(const std::string& name) const = 0;

  // The GGUF file for its metadata; nullptr for a folder.
  virtual const GgufFile* gguf() const { return nullptr; }
  // config.json's text; "" for a GGUF file.
  virtual std::string config_json() const { return ""; }
  // What else an exported model needs: tokenizer, chat template, generation_config.json, as far as they are there.
  virtual std::vector<std::filesystem::path> tokenizer_files() const { return {}; }

  // 32 hex digits of names, shapes, sizes, configuration and samples of the weights' bytes: cheap, and another model of
  // the same shape is told apart. Does not depend on where the files lie.
  virtual std::string fingerprint() const = 0;

 protected:
  std::filesystem::path path_;
  nn::ModelConfig config_;
};

// Opens what model_name_or_path names: a folder, a GGUF file, a folder with exactly one GGUF file, or a Hub id in the local
// Hugging Face cache. Headers only are read. THROWS ConfigError, FormatError, IoError
std::unique_ptr<WeightSource> open_weight_source(const std::string& model_name_or_path);

// "model.layers.0..." for "model.language_model.layers.0..." and "language_model.model.layers.0...".
std::string canonical_weight_name(const std::string& stored_name);

}  // namespace nibble::io
