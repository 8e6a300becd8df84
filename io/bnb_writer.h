// Writing weights in bitsandbytes' 4-bit layout (io/bnb.h reads it): which tensors a packed weight is stored as, and their
// bytes. What is written can be read by transformers with bitsandbytes as well as by nibble.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "quant/layout.h"

namespace nibble::io {

enum class BnbPart : uint8_t { kCodes, kAbsmax, kQuantMap, kNestedAbsmax, kNestedQuantMap, kState };

struct BnbTensor {
  BnbPart part;
  SafetensorsPlan::Tensor tensor;
};

inline constexpr int64_t kBnbStateBytes = 256;  // as long as any state; the rest is spaces, which JSON allows

// The tensors of a weight [out, in] named `weight` ("model.layers.0.mlp.up_proj.weight"): fp32 ones, codes, 8-bit scales, and
// last the state, of `state_bytes` bytes.
std::vector<BnbTensor> bnb_tensors(const std::string& weight, const quant::QuantConfig& config, int64_t out, int64_t in,
                                   int64_t state_bytes = kBnbStateBytes);

// The state's JSON, filled up to `state_bytes`. `dtype`: what the weight was or would be decoded to.
std::string bnb_state(const quant::QuantizedWeight& weight, at::ScalarType dtype, int64_t state_bytes = kBnbStateBytes);

// A part's bytes; of kState, those of `state`. REQUIRES a weight in host memory that has the part.
std::span<const std::byte> bnb_bytes(const quant::QuantizedWeight& weight, BnbPart part, const std::string& state);

}  // namespace nibble::io
