// Blockwise 4-bit quantization and its inverse, bit-exact with bitsandbytes (CUDA semantics, IEEE fp32).
#pragma once

#include "quant/layout.h"

namespace nibble::quant {

// Throws nibble::ConfigError unless the block size is a power of two in 32..4096.
void check_blocksize(int64_t blocksize);

// Quantizes a weight. SHAPES weight [Out, In] fp32, bf16 or fp16, contiguous, CPU, not empty. NUMERICS docs/numerics.md;
// the same bytes for every number of threads. THROWS nibble::ConfigError for the block size; std::invalid_argument for
// another dtype or layout, and for a value that is not finite (naming its index), since no scale can represent it.
QuantizedWeight quantize(const Tensor& weight, const QuantConfig& config);

// Writes the decoded weight into `into` ([Out, In], bf16 or fp32, contiguous): value = codebook[code] * absmax in fp32,
// rounded once to the dtype of `into`. THROWS std::invalid_argument where sizes disagree (a scale that is not finite is
// found by validate(), once, not here).
void dequantize_into(const QuantizedWeight& q, const Tensor& into);
Tensor dequantize(const QuantizedWeight& q, at::ScalarType dtype);

// Rows [row_begin, row_end) only, into `into` ([row_end - row_begin, In]): a panel that stays in the cache. Rows need not
// begin where a block does.
void dequantize_rows_into(const QuantizedWeight& q, int64_t row_begin, int64_t row_end, const Tensor& into);

// Checks what a file may have wrong: sizes and dtypes of all parts, scales that are finite. THROWS nibble::ConfigError for
// the block size, std::invalid_argument saying which part, what was found and what was expected.
void validate(const QuantizedWeight& q);

}  // namespace nibble::quant
