// Products of a few tokens with AVX-512. A packed byte holds two neighbouring elements, the first in its high nibble: bytes
// widened to words or dwords are indices of the odd elements as they are (a permute looks at its low bits only) and of the even
// ones after a shift by 4, so that activations that were split into even and odd ones need no shuffling of weights.
#include "nn/gemv_simd.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>

#include "core/bf16.h"
#include "core/prefetch.h"
#include "quant/codebook.h"

// GCC bug 105593: its own intrinsics start from an undefined register.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#define NIBBLE_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define NIBBLE_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

namespace nibble::nn {
namespace {

constexpr int64_t kScalesAtOnce = 256;  // pieces, of one row or of several, whose scales are rebuilt together

// The scales of a range of rows, rebuilt as they are asked for in order.
class Scales {
 public:
  Scales(const quant::DequantizeSpan& weight, int64_t end_piece) : weight_(weight), end_piece_(end_piece) {}

  // Of `pieces` pieces from piece `first`. REQUIRES pieces <= kScalesAtOnce
  const float* of(int64_t first, int64_t pieces) {
    if (first + pieces > end_) {
      begin_ = first;
      end_ = std::min(first + kScalesAtOnce, end_piece_);
      quant::rebuild_scales(weight_, begin_, end_ - begin_, scales_);
    }
    return scales_ + (first - begin_);
  }

 private:
  const quant::DequantizeSpan& weight_;
  int64_t end_piece_, begin_ = 0, end_ = 0;
  float scales_[kScalesAtOnce];
};

template <int T>
NIBBLE_AVX512_BF16 void packed_bf16(const quant::DequantizeSpan& w, const uint16_t* x, int64_t in, int64_t row_begin, int64_t row_end,
                                    float* sums, int64_t stride) {
  const __m512 book = _mm512_loadu_ps(quant::codebook(w.type).data());
  Scales scales_of_rows(w, row_end * in / quant::kPiece);
  for (int64_t o = row_begin; o < row_end; ++o) {
    __m512 even[T], odd[T];
    for (int t = 0; t < T; ++t) even[t] = odd[t] = _mm512_setzero_ps();
    const uint8_t* codes = w.codes + o * in / 2;
    for (int64_t first = 0; first < in; first += kScalesAtOnce * quant::kPiece) {
      const int64_t pieces = std::min(kScalesAtOnce, (in - first) / quant::kPiece);
      const float* scales = scales_of_rows.of((o * in + first) / quant::kPiece, pieces);
      for (int64_t p = 0; p < pieces; ++p, codes += quant::kPiece / 2) {
        const auto values = (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(book, _mm512_set1_ps(scales[p])));
        const __m512i table = _mm512_broadcast_i64x4(values);  // twice, so that the index's bit 4 does not matter
        prefetch_ahead(codes);
        const __m512i pairs = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
        const auto low = (__m512bh)_mm512_permutexvar_epi16(pairs, table);
        const auto high = (__m512bh)_mm512_permutexvar_epi16(_mm512_srli_epi16(pairs, 4), table);
        const uint16_t* xp = x + first + p * quant::kPiece;
        for (int t = 0; t < T; ++t) {
          even[t] = _mm512_dpbf16_ps(even[t], high, (__m512bh)_mm512_loadu_si512(xp + t * in));
          odd[t] = _mm512_dpbf16_ps(odd[t], low, (__m512bh)_mm512_loadu_si512(xp + t * in + 32));
        }
      }
    }
    for (int t = 0; t < T; ++t) sums[t * stride + o] = _mm512_reduce_add_ps(_mm512_add_ps(even[t], odd[t]));
  }
}

NIBBLE_AVX512 inline __m512 rounded_to_bf16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
  return _mm512_castsi512_ps(_mm512_and_si512(sum, _mm512_set1_epi32(static_cast<int>(0xFFFF0000u))));
}

template <int T>
NIBBLE_AVX512 void packed_wide(const quant::DequantizeSpan& w, bool rounded, const float* x, int64_t in, int64_t row_begin, int64_t row_end,
                               float* sums, int64_t stride) {
  const __m512 book = _mm512_loadu_ps(quant::codebook(w.type).data());
  Scales scales_of_rows(w, row_end * in / quant::kPiece);
  for (int64_t o = row_begin; o < row_end; ++o) {
    __m512 even[T], odd[T];
    for (int t = 0; t < T; ++t) even[t] = odd[t] = _mm512_setzero_ps();
    const uint8_t* codes = w.codes + o * in / 2;
    for (int64_t first = 0; first < in; first += kScalesAtOnce * quant::kPiece) {
      const int64_t pieces = std::min(kScalesAtOnce, (in - first) / quant::kPiece);
      const float* scales = scales_of_rows.of((o * in + first) / quant::kPiece, pieces);
      for (int64_t p = 0; p < pieces; ++p) {
        const __m512 values = _mm512_mul_ps(book, _mm512_set1_ps(scales[p])), table = rounded ? rounded_to_bf16(values) : values;
        for (int64_t half = 0; half < 2; ++half, codes += quant::kPiece / 4) {
          prefetch_ahead(codes);
          const __m512i pairs = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
          const __m512 low = _mm512_permutexvar_ps(pairs, table), high = _mm512_permutexvar_ps(_mm512_srli_epi32(pairs, 4), table);
          const float* xp = x + first + p * quant::kPiece + half * quant::kPiece / 2;
          for (int t = 0; t < T; ++t) {
            even[t] = _mm512_fmadd_ps(high, _mm512_loadu_ps(xp + t * in), even[t]);
            odd[t] = _mm512_fmadd_ps(low, _mm512_loadu_ps(xp + t * in + 16), odd[t]);
          }
        }
      }
    }
    for (int t = 0; t < T; ++t) sums[t * stride + o] = _mm512_reduce_add_ps(_mm512_add_ps(even[t], odd[t]));
  }
}

template <int T>
NIBBLE_AVX512_BF16 void dense_bf16(const uint16_t* w, const uint16_t* x, int64_t in, int64_t row_begin, int64_t row_end, float* sums,
                                   int64_t stride) {
  const auto rest = static_cast<__mmask32>((uint64_t{1} << (in % 32)) - 1);
  const int64_t whole = in - in % 32;
  for (int64_t o = row_begin; o < row_end; ++o) {
    const uint16_t* row = w + o * in;
    __m512 first[T], second[T];
    for (int t = 0; t < T; ++t) first[t] = second[t] = _mm512_setzero_ps();
    int64_t i = 0;
    for (; i + 64 <= whole; i += 64) {
      prefetch_ahead(row + i);
      prefetch_ahead(row + i + 32);
      const auto a = (__m512bh)_mm512_loadu_si512(row + i), b = (__m512bh)_mm512_loadu_si512(row + i + 32);
      for (int t = 0; t < T; ++t) {
        first[t] = _mm512_dpbf16_ps(first[t], a, (__m512bh)_mm512_loadu_si512(x + t * in + i));
        second[t] = _mm512_dpbf16_ps(second[t], b, (__m512bh)_mm512_loadu_si512(x + t * in + i + 32));
      }
    }
    if (i < whole) {
      const auto a = (__m512bh)_mm512_loadu_si512(row + i);
      for (int t = 0; t < T; ++t) first[t] = _mm512_dpbf16_ps(first[t], a, (__m512bh)_mm512_loadu_si512(x + t * in + i));
    }
    if (rest != 0) {
      const auto a = (__m512bh)_mm512_maskz_loadu_epi16(rest, row + whole);
      for (int t = 0; t < T; ++t) {
        second[t] = _mm512_dpbf16_ps(second[t], a, (__m512bh)_mm512_maskz_loadu_epi16(rest, x + t * in + whole));
      }
    }
    for (int t = 0; t < T; ++t) sums[t * stride + o] = _mm512_reduce_add_ps(_mm512_add_ps(first[t], second[t]));
  }
}

// run.operator()<T>() for so many tokens.
template <class Run>
void by_tokens(int64_t tokens, const Run& run) {
  switch (tokens) {
    case 1: return run.template operator()<1>();
    case 2: return run.template operator()<2>();
    case 3: return run.template operator()<3>();
    case 4: return run.template operator()<4>();
    case 5: return run.template operator()<5>();
    case 6: return run.template operator()<6>();
    case 7: return run.template operator()<7>();
    default: return run.template operator()<8>();
  }
}

}  // namespace

void arrange_pairs(const uint16_t* x, int64_t elements, uint16_t* arranged) {
  for (int64_t i = 0; i < elements; i += 64, x += 64, arranged += 64) {
    for (int64_t j = 0; j < 32; ++j) {
      arranged[j] = x[2 * j];
      arranged[32 + j] = x[2 * j + 1];
    }
  }
}

void arrange_wide(const uint16_t* x, int64_t elements, float* arranged) {
  for (int64_t i = 0; i < elements; i += 32, x += 32, arranged += 32) {
    for (int64_t j = 0; j < 16; ++j) {
      arranged[j] = bf16_to_float(x[2 * j]);
      arranged[16 + j] = bf16_to_float(x[2 * j + 1]);
    }
  }
}

void arrange_wide(const float* x, int64_t elements, float* arranged) {
  for (int64_t i = 0; i < elements; i += 32, x += 32, arranged += 32) {
    for (int64_t j = 0; j < 16; ++j) {
      arranged[j] = x[2 * j];
      arranged[16 + j] = x[2 * j + 1];
    }
  }
}

void gemv_packed_avx512_bf16(const quant::DequantizeSpan& weight, const GemvInput<uint16_t>& input, int64_t row_begin, int64_t row_end,
                             float* sums, int64_t stride) {
  by_tokens(input.tokens, [&]<int T>() {
    packed_bf16<T>(weight, static_cast<const uint16_t*>(input.arranged), input.in, row_begin, row_end, sums, stride);
  });
}

void gemv_packed_avx512(const quant::DequantizeSpan& weight, bool rounded, const float* arranged, int64_t tokens, int64_t in,
                        int64_t row_begin, int64_t row_end, float* sums, int64_t stride) {
  by_tokens(tokens, [&]<int T>() { packed_wide<T>(weight, rounded, arranged, in, row_begin, row_end, sums, stride); });
}

void gemv_dense_avx512_bf16(const uint16_t* weight, const GemvInput<uint16_t>& input, int64_t row_begin, int64_t row_end, float* sums,
                            int64_t stride) {
  by_tokens(input.tokens, [&]<int T>() { dense_bf16<T>(weight, input.x, input.in, row_begin, row_end, sums, stride); });
}

}  // namespace nibble::nn
#endif
