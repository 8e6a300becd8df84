// A frozen weight times the activations of one to eight tokens, on plain pointers: the products of text generation.
//
// Nothing is read twice, so the time is that of reading the weight once, and a 4-bit weight is read as it lies: a block's 16
// values are made from its scale, codes are looked up in registers, and what is decoded goes into the sum at once. Decoded
// values have the bits of dequantization (quant/blockwise_cpu.h); products of bf16 are exact, sums are fp32 in an order of the
// kernel's own that does not depend on how rows are shared among threads.
//
//   kPortable     pieces of a row are decoded into the first cache and summed by plain loops (core/vectorize.h)
//   kAvx512       4-bit weights in registers, fp32 fused multiply-adds
//   kAvx512Bf16   the same for bf16 by vdpbf16ps, which takes denormals for zeros
//
// Vector kernels of 4-bit weights need rows of whole 64s and blocks of at least 64; other weights take the portable path.
// Element: float, or uint16_t for bf16 bits.
#pragma once

#include <cstdint>

#include "quant/blockwise_span.h"

namespace nibble::nn {

enum class GemvIsa : uint8_t { kPortable, kAvx512, kAvx512Bf16 };  // a CPU that has one has those before it
GemvIsa best_gemv_isa();

inline constexpr int64_t kGemvTokens = 8;  // at most, at a time

template <class Element>
struct GemvInput {
  const Element* x;      // [tokens, in]
  const void* arranged;  // what arrange_cpu made of it
  int64_t tokens, in;
};

// Room for arrange_cpu, whatever the instruction set. Aligned to 64 bytes by the caller, for speed only.
inline int64_t arranged_bytes(int64_t tokens, int64_t in) { return tokens * in * 4; }

// Activations in the order in which packed codes come apart: of every 64 (bf16) or 32 (fp32) the even ones, then the odd ones.
// Once for all weights that read them. Nothing is written where no vector kernel will want it.
void arrange_cpu(const float* x, int64_t tokens, int64_t in, GemvIsa isa, void* arranged);
void arrange_cpu(const uint16_t* x, int64_t tokens, int64_t in, GemvIsa isa, void* arranged);

// sums[t * stride + o] = weight[o] . x[t] for rows o of [row_begin, row_end). REQUIRES weight [out, input.in] with
// row_end <= out, 1 <= tokens <= kGemvTokens, an isa that this CPU has.
void gemv_packed_cpu(const quant::DequantizeSpan& weight, const GemvInput<float>& input, int64_t row_begin, int64_t row_end, float* sums,
                     int64_t stride, GemvIsa isa);
void gemv_packed_cpu(const quant::DequantizeSpan& weight, const GemvInput<uint16_t>& input, int64_t row_begin, int64_t row_end, float* sums,
                     int64_t stride, GemvIsa isa);

// The same for a dense weight [out, in], which reads input.x only.
void gemv_dense_cpu(const float* weight, const GemvInput<float>& input, int64_t row_begin, int64_t row_end, float* sums, int64_t stride,
                    GemvIsa isa);
void gemv_dense_cpu(const uint16_t* weight, const GemvInput<uint16_t>& input, int64_t row_begin, int64_t row_end, float* sums, int64_t stride,
                    GemvIsa isa);

}  // namespace nibble::nn
