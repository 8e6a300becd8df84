// What the golden tests of blockwise coding share, on the CPU and on the emulated device.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "quant/layout.h"
#include "tests/support/golden_path.h"
#include "tests/support/golden_tensors.h"

namespace nibble::test {

inline nlohmann::json golden_cases(const std::string& name) {
  std::ifstream file(golden_path(name));
  return nlohmann::json::parse(file).at("cases");
}

// Whether the bytes are equal, so that the sign of zero counts. Both may be undefined.
inline testing::AssertionResult same_bytes(const Tensor& got, const Tensor& expected) {
  if (got.defined() != expected.defined()) return testing::AssertionFailure() << "one of them is undefined";
  if (!got.defined()) return testing::AssertionSuccess();
  if (got.nbytes() != expected.nbytes() || got.scalar_type() != expected.scalar_type()) {
    return testing::AssertionFailure() << got.nbytes() << " bytes of " << got.scalar_type() << ", expected "
                                       << expected.nbytes() << " of " << expected.scalar_type();
  }
  const auto* a = static_cast<const uint8_t*>(got.const_data_ptr());
  const auto* b = static_cast<const uint8_t*>(expected.const_data_ptr());
  const auto at = std::mismatch(a, a + got.nbytes(), b).first - a;
  if (at == static_cast<int64_t>(got.nbytes())) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "byte " << at << " is " << int{a[at]} << ", expected " << int{b[at]};
}

// The weight of a case of nf4_dq_cases.json, from its stored parts.
template <class Tensors>
quant::QuantizedWeight double_quantized(const Tensors& tensors, const nlohmann::json& c) {
  const std::string name = c.at("name");
  const Tensor& input = tensors.at(name + ".input");
  quant::QuantizedWeight q;
  q.config = {QuantType::kNf4, c.at("blocksize").get<int64_t>(), true};
  q.out = input.size(0);
  q.in = input.size(1);
  q.codes = tensors.at(name + ".packed");
  q.absmax_codes = tensors.at(name + ".absmax_codes");
  q.nested_absmax = tensors.at(name + ".nested_absmax");
  q.nested_offset = tensors.at(name + ".offset").template item<float>();
  return q;
}

}  // namespace nibble::test
