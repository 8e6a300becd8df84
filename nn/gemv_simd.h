// The seam between nn/gemv_cpu.cpp and its vector version. Not for other units.
#pragma once

#include "nn/gemv_cpu.h"
#include "quant/piece_scales.h"

namespace nibble::nn {

// Whether a row of `in` elements has vector kernels at all. Those of a 4-bit weight ask for quant::has_pieces.
inline bool whole_pieces(int64_t in) { return in % quant::kPiece == 0; }

#if defined(__x86_64__)
// As arrange_cpu. Where bf16 has no instructions of its own it is widened.
void arrange_pairs(const uint16_t* x, int64_t elements, uint16_t* arranged);
void arrange_wide(const uint16_t* x, int64_t elements, float* arranged);
void arrange_wide(const float* x, int64_t elements, float* arranged);

// As gemv_packed_cpu and gemv_dense_cpu. REQUIRES quant::has_pieces.
void gemv_packed_avx512_bf16(const quant::DequantizeSpan& weight, const GemvInput<uint16_t>& input, int64_t row_begin, int64_t row_end,
                             float* sums, int64_t stride);
// rounded: decoded values are rounded to bf16, as their weight would be.
void gemv_packed_avx512(const quant::DequantizeSpan& weight, bool rounded, const float* arranged, int64_t tokens, int64_t in,
                        int64_t row_begin, int64_t row_end, float* sums, int64_t stride);
void gemv_dense_avx512_bf16(const uint16_t* weight, const GemvInput<uint16_t>& input, int64_t row_begin, int64_t row_end, float* sums,
                            int64_t stride);
#endif

}  // namespace nibble::nn
