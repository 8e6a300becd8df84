// Tensors of a golden safetensors file. Small and trusting: the goldens are ours; nibble's own reader is tested elsewhere.
#pragma once

#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "tensor/torch.h"

namespace nibble::test {

// relative: path below tests/golden, "optim/problem.safetensors".
inline std::map<std::string, Tensor> golden_tensors(const std::string& relative) {
  const std::string path = std::string(NIBBLE_GOLDEN_DIR) + "/" + relative;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("golden file missing: " + path);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  const auto header = nlohmann::json::parse(bytes.substr(8, header_bytes));
  const std::map<std::string, at::ScalarType> dtypes{{"F64", at::kDouble}, {"F32", at::kFloat},  {"F16", at::kHalf},
                                                     {"BF16", at::kBFloat16}, {"I64", at::kLong}, {"I32", at::kInt},
                                                     {"I8", at::kChar},    {"U8", at::kByte},    {"BOOL", at::kBool}};
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const auto shape = entry.at("shape").get<std::vector<int64_t>>();
    Tensor t = at::empty(shape, dtypes.at(entry.at("dtype").get<std::string>()));
    std::memcpy(t.data_ptr(), bytes.data() + 8 + header_bytes + entry.at("data_offsets").at(0).get<size_t>(), t.nbytes());
    tensors.emplace(name, t);
  }
  return tensors;
}

}  // namespace nibble::test
