// A GGUF file as a WeightSource: tensors decoded, and q and k rows put back into Hugging Face's order.
// (Not named gguf*: those files know no LibTorch.)
#pragma once

#include <string>
#include <unordered_map>

#include "core/mapping_guard.h"
#include "io/weight_source.h"

namespace nibble::io {

class GgufSource final : public WeightSource {
 public:
  explicit GgufSource(const std::filesystem::path& file);  // THROWS as open_weight_source

  const std::vector<std::string>& names() const override { return names_; }
  bool has(const std::string& name) const override { return tensors_.count(name) != 0; }
  std::string stored_name(const std::string& name) const override { return name; }
  std::vector<int64_t> shape(const std::string& name) const override { return tensor(name).shape; }
  Tensor read(const std::string& name) const override;
  bool is_packed(const std::string&) const override { return false; }
  quant::QuantizedWeight read_packed(const std::string& name) const override;
  Place place(const std::string& name) const override { return {path_.string(), 0, 0, tensor(name).begin}; }
  void expect_unchanged() const override { nibble::expect_unchanged(file_.all_bytes()); }
  void drop(const std::string& name) const override { file_.drop(tensor(name)); }
  const GgufFile* gguf() const override { return &file_; }
  std::string fingerprint() const override;

 private:
  const GgufTensor& tensor(const std::string& name) const;

  GgufFile file_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, const GgufTensor*> tensors_;
};

}  // namespace nibble::io
