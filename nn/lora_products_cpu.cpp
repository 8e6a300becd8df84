#include "nn/lora_products_cpu.h"

#include <algorithm>
#include <stdexcept>

#include "core/vectorize.h"
#include "nn/avx512_tile.h"

namespace nibble::nn {

NIBBLE_CLONES void pack_factor_cpu(const ConstRows& factor, bool transposed, int64_t summed, int64_t columns, uint32_t* packed) {
  const int64_t width = padded_rank(columns), whole = summed / 2, pairs = (summed + 1) / 2;
  const uint16_t* rows = factor.data;
  if (transposed) {
    for (int64_t n = 0; n < columns; ++n, rows += factor.stride) {
      for (int64_t p = 0; p < whole; ++p) packed[p * width + n] = rows[2 * p] | static_cast<uint32_t>(rows[2 * p + 1]) << 16;
      if (whole < pairs) packed[whole * width + n] = rows[summed - 1];
    }
  } else {
    for (int64_t p = 0; p < whole; ++p, rows += 2 * factor.stride) {
      const uint16_t *low = rows, *high = rows + factor.stride;
      for (int64_t n = 0; n < columns; ++n) packed[p * width + n] = low[n] | static_cast<uint32_t>(high[n]) << 16;
    }
    if (whole < pairs) std::copy(rows, rows + columns, packed + whole * width);
  }
  if (columns == width) return;
  for (int64_t p = 0; p < pairs; ++p) std::fill(packed + p * width + columns, packed + (p + 1) * width, 0u);
}

void add_strip_cpu(const float* sums, int64_t column, int64_t R, float scale, bool transposed, float* g, int64_t g_stride) {
  const int64_t down = transposed ? 1 : g_stride, across = transposed ? g_stride : 1;
  for (int64_t r = 0; r < R; ++r) {
    for (int64_t n = 0; n < kOuterColumns; ++n) g[r * down + (column + n) * across] += scale * sums[r * kOuterColumns + n];
  }
}

#if defined(__x86_64__)

namespace {

constexpr int64_t kRows = 8;           // of a tile: with 2 columns of registers, 16 sums
constexpr int64_t kOuterPairs = 32;    // pairs of tokens that outer_sums_cpu goes through at a time: they stay in the second cache

const uint32_t* dwords(const uint16_t* x) { return reinterpret_cast<const uint32_t*>(x); }

template <int MR>
NIBBLE_AVX512_BF16 void project_tile(const TileOperand& x, int64_t pairs, const uint32_t* packed, int64_t R, float scale, uint16_t* h) {
  const int64_t width = padded_rank(R);
  const __m512 factor = _mm512_set1_ps(scale);
  for (int64_t r = 0; r < R; r += 16) {
    __m512 sums[MR][1];
    zero_sums(sums);
    tile_product<MR, 1>(sums, x, packed + r, width, pairs);
    const auto mask = static_cast<__mmask16>(R - r >= 16 ? 0xFFFF : (1u << (R - r)) - 1);
#pragma GCC unroll 8
    for (int m = 0; m < MR; ++m) {
      _mm256_mask_storeu_epi16(h + m * R + r, mask, (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(factor, sums[m][0])));
    }
  }
}

template <int MR, int NR>
NIBBLE_AVX512_BF16 void add_tile(uint16_t* y, int64_t y_stride, const TileOperand& h, const uint32_t* packed, int64_t packed_step,
                                 int64_t pairs, float scale) {
  __m512 sums[MR][NR];
  zero_sums(sums);
  tile_product<MR, NR>(sums, h, packed, packed_step, pairs);
  const __m512 factor = _mm512_set1_ps(scale);
#pragma GCC unroll 8
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 2
    for (int n = 0; n < NR; ++n) {
      uint16_t* at = y + m * y_stride + 16 * n;
      const __m512i bits = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at))), 16);
      store_bf16(at, _mm512_fmadd_ps(factor, sums[m][n], _mm512_castsi512_ps(bits)));
    }
  }
}

template <int MR>
NIBBLE_AVX512_BF16 void add_all_tiles(uint16_t* y, int64_t y_stride, int64_t N, const TileOperand& h, int64_t pairs, const uint32_t* packed,
                                      float scale) {
  int64_t n = 0;
  for (; n + 32 <= N; n += 32) add_tile<MR, 2>(y + n, y_stride, h, packed + n, N, pairs, scale);
  if (n < N) add_tile<MR, 1>(y + n, y_stride, h, packed + n, N, pairs, scale);
}

// Two rows of 16 bf16, element by element in one dword.
NIBBLE_TILE __m512i pair_rows(const uint16_t* low, const uint16_t* high) {
  const __m512i l = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(low)));
  if (high == nullptr) return l;
  const __m512i h = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(high)));
  return _mm512_or_si512(l, _mm512_slli_epi32(h, 16));
}

// sums[16, 16] += h^T x over the pairs of tokens [begin, end).
NIBBLE_AVX512_BF16 void outer_tile(const ConstRows& x, int64_t tokens, int64_t begin, int64_t end, const uint32_t* h, int64_t h_step,
                                   float* sums) {
  __m512 s[16];
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) s[r] = _mm512_loadu_ps(sums + 16 * r);
  for (int64_t p = begin; p < end; ++p) {
    const uint16_t* row = x.data + 2 * p * x.stride;
    const auto columns = (__m512bh)pair_rows(row, 2 * p + 1 < tokens ? row + x.stride : nullptr);
    const uint32_t* values = h + p * h_step;
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) s[r] = _mm512_dpbf16_ps(s[r], (__m512bh)_mm512_set1_epi32(static_cast<int>(values[r])), columns);
  }
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) _mm512_storeu_ps(sums + 16 * r, s[r]);
}

}  // namespace

void project_rows_cpu(const ConstRows& x, int64_t tokens, int64_t K, const uint32_t* packed, int64_t R, float scale, uint16_t* h) {
  const auto rows = [&](int64_t t) { return TileOperand{dwords(x.data + t * x.stride), x.stride / 2, 1}; };
  int64_t t = 0;
  for (; t + kRows <= tokens; t += kRows) project_tile<kRows>(rows(t), K / 2, packed, R, scale, h + t * R);
  for (; t < tokens; ++t) project_tile<1>(rows(t), K / 2, packed, R, scale, h + t * R);
}

void add_rows_cpu(uint16_t* y, int64_t y_stride, int64_t tokens, int64_t N, const uint16_t* h, int64_t R, const uint32_t* packed,
                  float scale) {
  const auto rows = [&](int64_t t) { return TileOperand{dwords(h + t * R), R / 2, 1}; };
  int64_t t = 0;
  for (; t + kRows <= tokens; t += kRows) add_all_tiles<kRows>(y + t * y_stride, y_stride, N, rows(t), R / 2, packed, scale);
  for (; t < tokens; ++t) add_all_tiles<1>(y + t * y_stride, y_stride, N, rows(t), R / 2, packed, scale);
}

void outer_sums_cpu(const ConstRows& x, int64_t tokens, int64_t first, int64_t last, const uint32_t* packed_h, int64_t R, float* sums) {
  const int64_t width = padded_rank(R), pairs = (tokens + 1) / 2, strip = width * kOuterColumns;
  std::fill(sums, sums + (last - first) / kOuterColumns * strip, 0.0f);
  for (int64_t begin = 0; begin < pairs; begin += kOuterPairs) {
    const int64_t end = std::min(begin + kOuterPairs, pairs);
    for (int64_t n = first; n < last; n += kOuterColumns) {
      float* at = sums + (n - first) / kOuterColumns * strip;
      for (int64_t r = 0; r < width; r += 16) {
        outer_tile({x.data + n, x.stride}, tokens, begin, end, packed_h + r, width, at + r * kOuterColumns);
      }
    }
  }
}

NIBBLE_AVX512_BF16 void pad_rows_cpu(const ConstRows& x, int64_t rows, int64_t columns, int64_t padded, uint16_t* out) {
  for (int64_t t = 0; t < rows; ++t, out += padded) {
    const uint16_t* row = x.data + t * x.stride;
    for (int64_t c = 0; c < padded; c += 32) {
      const int64_t count = std::clamp<int64_t>(columns - c, 0, 32);
      _mm512_storeu_si512(out + c, _mm512_maskz_loadu_epi16(static_cast<__mmask32>((uint64_t{1} << count) - 1), row + c));
    }
  }
}

NIBBLE_AVX512_BF16 void transpose_rows_cpu(const ConstRows& x, int64_t rows, int64_t columns, uint16_t* out) {
  for (int64_t c = 0; c < columns; c += 32) {
    const auto in_row = static_cast<__mmask32>((uint64_t{1} << std::min<int64_t>(32, columns - c)) - 1);
    for (int64_t t = 0; t < rows; t += 16) {
      const auto tokens = static_cast<__mmask16>((1u << std::min<int64_t>(16, rows - t)) - 1);
      __m512i r[16];
#pragma GCC unroll 16
      for (int64_t i = 0; i < 16; ++i) {
        r[i] = t + i < rows ? _mm512_maskz_loadu_epi16(in_row, x.data + (t + i) * x.stride + c) : _mm512_setzero_si512();
      }
      transpose_16x16(r);  // r[p] now holds columns c + 2p and c + 2p + 1 of each token
#pragma GCC unroll 16
      for (int64_t p = 0; p < 16; ++p) {
        const int64_t column = c + 2 * p;
        if (column < columns) _mm512_mask_cvtepi32_storeu_epi16(out + column * rows + t, tokens, r[p]);
        if (column + 1 < columns) _mm512_mask_cvtepi32_storeu_epi16(out + (column + 1) * rows + t, tokens, _mm512_srli_epi32(r[p], 16));
      }
    }
  }
}

#else

// avx512_bf16_supported is the caller's guard; nothing below is reached without it.
void project_rows_cpu(const ConstRows&, int64_t, int64_t, const uint32_t*, int64_t, float, uint16_t*) {
  throw std::logic_error("no AVX512_BF16 on this machine");
}
void add_rows_cpu(uint16_t*, int64_t, int64_t, int64_t, const uint16_t*, int64_t, const uint32_t*, float) {
  throw std::logic_error("no AVX512_BF16 on this machine");
}
void outer_sums_cpu(const ConstRows&, int64_t, int64_t, int64_t, const uint32_t*, int64_t, float*) {
  throw std::logic_error("no AVX512_BF16 on this machine");
}
void pad_rows_cpu(const ConstRows&, int64_t, int64_t, int64_t, uint16_t*) { throw std::logic_error("no AVX512_BF16 on this machine"); }
void transpose_rows_cpu(const ConstRows&, int64_t, int64_t, uint16_t*) { throw std::logic_error("no AVX512_BF16 on this machine"); }

#endif

}  // namespace nibble::nn
