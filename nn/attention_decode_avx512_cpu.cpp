// One query against a cache with AVX-512: four keys at a time by vdpbf16ps, whose sums are added up together; values widened
// to fp32 and summed in registers.
#include "nn/attention_decode_simd.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>

// GCC bug 105593: its own intrinsics start from an undefined register.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#define NIBBLE_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

namespace nibble::nn {
namespace {

constexpr int64_t kKeysAtOnce = 4;

// The four sums of the elements of a, b, c and d.
NIBBLE_AVX512_BF16 inline __m128 add_up(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
  const __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
  const __m512 quarters = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
  const __m256 halves = _mm256_add_ps(_mm512_castps512_ps256(quarters), _mm512_extractf32x8_ps(quarters, 1));
  return _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));
}

// Pieces: of 32 elements in a row.
template <int Pieces>
NIBBLE_AVX512_BF16 float scores(const DecodeHead<uint16_t>& head) {
  __m512bh q[Pieces];
  for (int i = 0; i < Pieces; ++i) q[i] = (__m512bh)_mm512_loadu_si512(head.q + 32 * i);
  const __m128 scale = _mm_set1_ps(head.scale);
  __m128 largest = _mm_set1_ps(-__builtin_inff());
  for (int64_t j = 0; j < head.keys; j += kKeysAtOnce) {
    __m512 sums[kKeysAtOnce];
    const int64_t last = head.keys - 1;
    for (int64_t n = 0; n < kKeysAtOnce; ++n) {
      // Behind the last key it is taken again.
      const uint16_t* k = head.k + std::min(j + n, last) * head.k_stride;
      sums[n] = _mm512_setzero_ps();
      for (int i = 0; i < Pieces; ++i) sums[n] = _mm512_dpbf16_ps(sums[n], q[i], (__m512bh)_mm512_loadu_si512(k + 32 * i));
    }
    const __m128 four = _mm_mul_ps(add_up(sums[0], sums[1], sums[2], sums[3]), scale);
    largest = _mm_max_ps(largest, four);
    if (j + kKeysAtOnce <= head.keys) {
      _mm_storeu_ps(head.scores + j, four);
    } else {
      alignas(16) float rest[kKeysAtOnce];
      _mm_store_ps(rest, four);
      std::copy(rest, rest + (head.keys - j), head.scores + j);
    }
  }
  alignas(16) float four[kKeysAtOnce];
  _mm_store_ps(four, largest);
  return *std::max_element(four, four + kKeysAtOnce);
}

template <int Pieces>
NIBBLE_AVX512_BF16 void sums(const DecodeHead<uint16_t>& head) {
  __m512 total[2 * Pieces];
  for (__m512& t : total) t = _mm512_setzero_ps();
  for (int64_t j = 0; j < head.keys; ++j) {
    const __m512 p = _mm512_set1_ps(head.scores[j]);
    const uint16_t* v = head.v + j * head.v_stride;
    for (int i = 0; i < 2 * Pieces; ++i) {
      const __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(v + 16 * i)));
      total[i] = _mm512_fmadd_ps(p, _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16)), total[i]);
    }
  }
  for (int i = 0; i < 2 * Pieces; ++i) _mm512_storeu_ps(head.sums + 16 * i, total[i]);
}

// run.operator()<Pieces>() for heads of this width.
template <class Run>
auto by_width(int64_t width, const Run& run) {
  switch (width) {
    case 64: return run.template operator()<2>();
    case 96: return run.template operator()<3>();
    case 128: return run.template operator()<4>();
    default: return run.template operator()<8>();
  }
}

}  // namespace

float decode_scores_avx512_bf16(const DecodeHead<uint16_t>& head) {
  return by_width(head.width, [&]<int Pieces>() { return scores<Pieces>(head); });
}

void decode_sums_avx512_bf16(const DecodeHead<uint16_t>& head) {
  by_width(head.width, [&]<int Pieces>() { sums<Pieces>(head); });
}

}  // namespace nibble::nn
#endif
