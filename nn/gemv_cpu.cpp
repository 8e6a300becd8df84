#include "nn/gemv_cpu.h"

#include <algorithm>

#include "nn/avx512.h"
#include "nn/gemv_simd.h"
#include "nn/vectorize.h"
#include "quant/blockwise_cpu.h"

namespace nibble::nn {
namespace {

constexpr int64_t kDecodedAtOnce = 512;  // elements of a row on the stack

template <class Element>
NIBBLE_INLINE void add_products(const Element* w, const Element* x, int64_t n, float* lanes) {
  int64_t i = 0;
  for (; i + kRowLanes <= n; i += kRowLanes) {
    for (int64_t l = 0; l < kRowLanes; ++l) lanes[l] += load_element(w, i + l) * load_element(x, i + l);
  }
  for (int64_t l = 0; i < n; ++i, ++l) lanes[l] += load_element(w, i) * load_element(x, i);
}
NIBBLE_CLONES void add_dot(const float* w, const float* x, int64_t n, float* lanes) { add_products(w, x, n, lanes); }
NIBBLE_CLONES void add_dot(const uint16_t* w, const uint16_t* x, int64_t n, float* lanes) { add_products(w, x, n, lanes); }

// Calls piece(begin, n) -> the row's elements from `begin`, for every piece of every row.
template <class Element, class Piece>
void sum_rows(const GemvInput<Element>& input, int64_t row_begin, int64_t row_end, int64_t piece_elements, float* sums, int64_t stride,
              const Piece& piece) {
  for (int64_t o = row_begin; o < row_end; ++o) {
    float lanes[kGemvTokens][kRowLanes] = {};
    for (int64_t i = 0; i < input.in; i += piece_elements) {
      const int64_t n = std::min(piece_elements, input.in - i);
      const Element* w = piece(o * input.in + i, n);
      for (int64_t t = 0; t < input.tokens; ++t) add_dot(w, input.x + t * input.in + i, n, lanes[t]);
    }
    for (int64_t t = 0; t < input.tokens; ++t) sums[t * stride + o] = static_cast<float>(sum_lanes(lanes[t]));
  }
}

template <class Element>
void packed_portable(const quant::DequantizeSpan& weight, const GemvInput<Element>& input, int64_t row_begin, int64_t row_end, float* sums,
                     int64_t stride) {
  const quant::Isa isa = quant::best_isa();
  Element decoded[kDecodedAtOnce];
  sum_rows(input, row_begin, row_end, kDecodedAtOnce, sums, stride, [&](int64_t begin, int64_t n) {
    quant::dequantize_cpu(weight, begin, begin + n, decoded, isa);
    return static_cast<const Element*>(decoded);
  });
}

template <class Element>
void dense_portable(const Element* weight, const GemvInput<Element>& input, int64_t row_begin, int64_t row_end, float* sums, int64_t stride) {
  sum_rows(input, row_begin, row_end, std::max<int64_t>(input.in, 1), sums, stride, [&](int64_t begin, int64_t) { return weight + begin; });
}

}  // namespace

GemvIsa best_gemv_isa() {
  if (avx512_bf16_supported()) return GemvIsa::kAvx512Bf16;
  return quant::best_isa() == quant::Isa::kAvx512 ? GemvIsa::kAvx512 : GemvIsa::kPortable;
}

void arrange_cpu(const float* x, int64_t tokens, int64_t in, GemvIsa isa, void* arranged) {
#if defined(__x86_64__)
  if (isa != GemvIsa::kPortable && whole_pieces(in)) arrange_wide(x, tokens * in, static_cast<float*>(arranged));
#else
  static_cast<void>(x), static_cast<void>(tokens), static_cast<void>(in), static_cast<void>(isa), static_cast<void>(arranged);
#endif
}

void arrange_cpu(const uint16_t* x, int64_t tokens, int64_t in, GemvIsa isa, void* arranged) {
#if defined(__x86_64__)
  if (isa == GemvIsa::kPortable || !whole_pieces(in)) return;
  if (isa == GemvIsa::kAvx512) return arrange_wide(x, tokens * in, static_cast<float*>(arranged));
  arrange_pairs(x, tokens * in, static_cast<uint16_t*>(arranged));
#else
  static_cast<void>(x), static_cast<void>(tokens), static_cast<void>(in), static_cast<void>(isa), static_cast<void>(arranged);
#endif
}

void gemv_packed_cpu(const quant::DequantizeSpan& weight, const GemvInput<float>& input, int64_t row_begin, int64_t row_end, float* sums,
                     int64_t stride, GemvIsa isa) {
#if defined(__x86_64__)
  if (isa != GemvIsa::kPortable && quant::has_pieces(weight, input.in)) {
    return gemv_packed_avx512(weight, /*rounded=*/false, static_cast<const float*>(input.arranged), input.tokens, input.in, row_begin, row_end,
                              sums, stride);
  }
#endif
  static_cast<void>(isa);
  packed_portable(weight, input, row_begin, row_end, sums, stride);
}

void gemv_packed_cpu(const quant::DequantizeSpan& weight, const GemvInput<uint16_t>& input, int64_t row_begin, int64_t row_end, float* sums,
                     int64_t stride, GemvIsa isa) {
#if defined(__x86_64__)
  if (isa != GemvIsa::kPortable && quant::has_pieces(weight, input.in)) {
    if (isa == GemvIsa::kAvx512Bf16) return gemv_packed_avx512_bf16(weight, input, row_begin, row_end, sums, stride);
    return gemv_packed_avx512(weight, /*rounded=*/true, static_cast<const float*>(input.arranged), input.tokens, input.in, row_begin, row_end,
                              sums, stride);
  }
#endif
  static_cast<void>(isa);
  packed_portable(weight, input, row_begin, row_end, sums, stride);
}

void gemv_dense_cpu(const float* weight, const GemvInput<float>& input, int64_t row_begin, int64_t row_end, float* sums, int64_t stride, GemvIsa) {
  dense_portable(weight, input, row_begin, row_end, sums, stride);
}

void gemv_dense_cpu(const uint16_t* weight, const GemvInput<uint16_t>& input, int64_t row_begin, int64_t row_end, float* sums, int64_t stride,
                    GemvIsa isa) {
#if defined(__x86_64__)
  if (isa == GemvIsa::kAvx512Bf16) return gemv_dense_avx512_bf16(weight, input, row_begin, row_end, sums, stride);
#endif
  static_cast<void>(isa);
  dense_portable(weight, input, row_begin, row_end, sums, stride);
}

}  // namespace nibble::nn
