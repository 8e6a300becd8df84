#include "io/bnb_writer.h"

#include <nlohmann/json.hpp>

#include <stdexcept>

#include "quant/codebook.h"

namespace nibble::io {
namespace {

const char* type_name(QuantType type) {
  switch (type) {
    case QuantType::kNf4: return "nf4";
    case QuantType::kFp4: return "fp4";
  }
  throw std::logic_error("no such quantization");
}

std::span<const std::byte> bytes_of(const Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

std::span<const std::byte> codebook_bytes(QuantType type) {
  switch (type) {
    case QuantType::kNf4: return std::as_bytes(std::span(quant::kNf4Codebook));
    case QuantType::kFp4: return std::as_bytes(std::span(quant::kFp4Codebook));
  }
  throw std::logic_error("no such quantization");
}

}  // namespace

std::vector<BnbTensor> bnb_tensors(const std::string& weight, const quant::QuantConfig& config, int64_t out, int64_t in,
                                   int64_t state_bytes) {
  const int64_t numel = out * in, blocks = (numel + config.blocksize - 1) / config.blocksize;
  const int64_t nested = (blocks + quant::kNestedBlocksize - 1) / quant::kNestedBlocksize;
  std::vector<BnbTensor> tensors;
  const auto add = [&](BnbPart part, const std::string& suffix, DType dtype, std::vector<int64_t> shape) {
    tensors.push_back({part, {weight + suffix, dtype, std::move(shape)}});
  };
  if (config.double_quant) {
    add(BnbPart::kNestedAbsmax, ".nested_absmax", DType::kF32, {nested});
    add(BnbPart::kNestedQuantMap, ".nested_quant_map", DType::kF32, {static_cast<int64_t>(quant::kDynamicMapSigned.size())});
  } else {
    add(BnbPart::kAbsmax, ".absmax", DType::kF32, {blocks});
  }
  add(BnbPart::kQuantMap, ".quant_map", DType::kF32, {static_cast<int64_t>(quant::kNf4Codebook.size())});
  add(BnbPart::kCodes, "", DType::kU8, {numel / 2 + numel % 2, 1});
  if (config.double_quant) add(BnbPart::kAbsmax, ".absmax", DType::kU8, {blocks});
  add(BnbPart::kState, std::string(".quant_state.bitsandbytes__") + type_name(config.type), DType::kU8, {state_bytes});
  return tensors;
}

std::string bnb_state(const quant::QuantizedWeight& weight, at::ScalarType dtype, int64_t state_bytes) {
  nlohmann::ordered_json state;
  state["quant_type"] = type_name(weight.config.type);
  state["blocksize"] = weight.config.blocksize;
  state["dtype"] = dtype == at::kFloat ? "float32" : "bfloat16";
  state["shape"] = {weight.out, weight.in};
  if (weight.config.double_quant) {
    state["nested_blocksize"] = quant::kNestedBlocksize;
    state["nested_dtype"] = "float32";
    state["nested_offset"] = static_cast<double>(weight.nested_offset);  // with all digits
  }
  std::string text = state.dump();
  if (static_cast<int64_t>(text.size()) > state_bytes) throw std::logic_error("the state of a 4-bit weight is longer than its place");
  text.resize(static_cast<size_t>(state_bytes), ' ');
  return text;
}

std::span<const std::byte> bnb_bytes(const quant::QuantizedWeight& weight, BnbPart part, const std::string& state) {
  switch (part) {
    case BnbPart::kCodes: return bytes_of(weight.codes);
    case BnbPart::kAbsmax: return bytes_of(weight.config.double_quant ? weight.absmax_codes : weight.absmax);
    case BnbPart::kQuantMap: return codebook_bytes(weight.config.type);
    case BnbPart::kNestedAbsmax: return bytes_of(weight.nested_absmax);
    case BnbPart::kNestedQuantMap: return std::as_bytes(std::span(quant::kDynamicMapSigned));
    case BnbPart::kState: return std::as_bytes(std::span(state));
  }
  throw std::logic_error("no such part");
}

}  // namespace nibble::io
