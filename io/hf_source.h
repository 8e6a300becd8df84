// A Hugging Face model folder as a WeightSource: config.json and safetensors, single or sharded.
#pragma once

#include <string>
#include <unordered_map>

#include "io/shards.h"
#include "io/weight_source.h"

namespace nibble::io {

class HfSource final : public WeightSource {
 public:
  explicit HfSource(const std::filesystem::path& folder);  // THROWS as open_weight_source

  const std::vector<std::string>& names() const override { return names_; }
  bool has(const std::string& name) const override { return stored_.count(name) != 0; }
  std::string stored_name(const std::string& name) const override { return stored(name); }
  std::vector<int64_t> shape(const std::string& name) const override;
  Tensor read(const std::string& name) const override;
  bool is_packed(const std::string& name) const override;
  quant::QuantizedWeight read_packed(const std::string& name) const override;
  quant::QuantizedWeight view_packed(const std::string& name) const override;
  bool holds(const void* address) const override;
  Place place(const std::string& name) const override;
  void expect_unchanged() const override;
  void drop(const std::string& name) const override;
  std::string config_json() const override { return config_text_; }
  std::vector<std::filesystem::path> tokenizer_files() const override;
  std::string fingerprint() const override;

 private:
  const std::string& stored(const std::string& name) const;

  SafetensorsShards shards_;
  std::string config_text_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, std::string> stored_;  // name in the files by name
};

}  // namespace nibble::io
