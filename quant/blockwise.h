// Blockwise 4-bit quantization and its inverse, bit-exact with bitsandbytes (CUDA semantics, IEEE fp32).
#pragma once

#include "quant/layout.h"

namespace nibble::quant {

// Quantizes a weight. SHAPES weight [Out, In] fp32, bf16 or fp16, contiguous, CPU. NUMERICS docs/numerics.md.
// THROWS nibble::ConfigError for a block size outside 32..4096 or not a power of two; FormatError-free: a non-finite
// value throws std::invalid_argument naming the flat index, since no scale can represent it.
QuantizedWeight quantize(const Tensor& weight, const QuantConfig& config);

// Writes the decoded weight into `into` ([Out, In], bf16 or fp32, contiguous): value = codebook[code] * absmax in fp32,
// rounded once to the dtype of `into`. THROWS std::invalid_argument where sizes disagree or a scale is not finite
// (checked once by validate(), not per call).
void dequantize_into(const QuantizedWeight& q, const Tensor& into);
Tensor dequantize(const QuantizedWeight& q, at::ScalarType dtype);

// Checks what a file may have wrong: sizes of all parts, finite scales. THROWS std::invalid_argument saying which.
void validate(const QuantizedWeight& q);

}  // namespace nibble::quant
