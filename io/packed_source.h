// A packed cache as a WeightSource: its weights where its base had them, already quantized and in the compute dtype, as views
// of the mapped file. What is no weight (configuration, tokenizer, GGUF metadata) is the base's.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "io/packed_layout.h"
#include "io/shards.h"
#include "io/weight_source.h"

namespace nibble::io {

class PackedSource final : public WeightSource {
 public:
  // Opens the file and compares all of its header with what `plan` would write. REQUIRES base outlives this. THROWS IoError;
  // FormatError saying what is wrong with the file.
  PackedSource(const WeightSource& base, const std::filesystem::path& file, const SafetensorsPlan& plan);

  // Reads every byte once, on all threads, and compares the checksums. `each` is called with every tensor, on any thread, and may throw
  // to stop. THROWS FormatError naming the damaged tensor.
  void verify(const std::function<void()>& each = {}) const;

  const std::filesystem::path& file() const { return shards_.files().front().path(); }
  int64_t file_bytes() const { return shards_.files().front().size(); }

  const std::vector<std::string>& names() const override { return names_; }
  bool has(const std::string& name) const override { return weights_.count(name) != 0; }
  std::string stored_name(const std::string& name) const override { return base_.stored_name(name); }
  std::vector<int64_t> shape(const std::string& name) const override;
  Tensor read(const std::string& name) const override;
  bool is_packed(const std::string& name) const override;
  quant::QuantizedWeight read_packed(const std::string& name) const override;
  quant::QuantizedWeight view_packed(const std::string& name) const override;
  bool holds(const void* address) const override;
  bool verified() const override { return true; }  // they were looked at when the file was made
  Place place(const std::string& name) const override;
  void expect_unchanged() const override;
  void drop(const std::string& name) const override;
  const GgufFile* gguf() const override { return base_.gguf(); }
  std::string config_json() const override { return base_.config_json(); }
  std::vector<std::filesystem::path> tokenizer_files() const override { return base_.tokenizer_files(); }
  std::string fingerprint() const override { return base_.fingerprint(); }

 private:
  const SafetensorsShards::Location& location(const std::string& name) const;
  void expect_plan(const SafetensorsPlan& plan) const;

  const WeightSource& base_;
  SafetensorsShards shards_;
  std::vector<std::string> names_;
  std::set<std::string> weights_;
};

}  // namespace nibble::io
