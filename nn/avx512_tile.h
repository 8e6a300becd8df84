// Register tiles of bf16 matrix products on AVX512_BF16, and what is needed around them: exp2, transposes, packing.
// Included only by the kernels of attention and of LoRA's products; everything here needs the instruction sets of
// NIBBLE_AVX512_BF16.
//
// An operand is read as dwords that hold two adjacent bf16 values along the summed axis (vdpbf16ps multiplies pairs). A
// tile is kTileRows x 16 NR: A's dwords are broadcast, B's are 16 columns to a register, sums stay in registers.
#pragma once

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>

// GCC bug 105593: its own intrinsics start from an undefined register.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#define NIBBLE_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define NIBBLE_TILE NIBBLE_AVX512_BF16 __attribute__((always_inline)) static inline

namespace nibble::nn {

inline constexpr int64_t kTileRows = 6;      // with 4 columns of registers: 24 sums, 4 of B and 1 of A in 32 registers
inline constexpr int64_t kTileColumns = 64;  // 4 registers of 16

// Where an operand's dwords lie: element (i, pair) at i * row + pair * step.
struct TileOperand {
  const uint32_t* data;
  int64_t row;
  int64_t step;
};

// sums += A[MR, pairs] B[pairs, 16 NR]. B's columns are adjacent dwords, its pairs b_step dwords apart.
template <int MR, int NR>
NIBBLE_TILE void tile_product(__m512 (&sums)[MR][NR], const TileOperand& a, const uint32_t* b, int64_t b_step, int64_t pairs) {
  const uint32_t* rows[MR];
#pragma GCC unroll 8
  for (int m = 0; m < MR; ++m) rows[m] = a.data + m * a.row;
  int64_t offset = 0;
#pragma GCC unroll 2
  for (int64_t p = 0; p < pairs; ++p) {
    __m512bh columns[NR];
#pragma GCC unroll 4
    for (int n = 0; n < NR; ++n) columns[n] = (__m512bh)_mm512_loadu_si512(b + 16 * n);
#pragma GCC unroll 8
    for (int m = 0; m < MR; ++m) {
      const auto value = (__m512bh)_mm512_set1_epi32(static_cast<int>(rows[m][offset]));
#pragma GCC unroll 4
      for (int n = 0; n < NR; ++n) sums[m][n] = _mm512_dpbf16_ps(sums[m][n], value, columns[n]);
    }
    b += b_step;
    offset += a.step;
  }
}

template <int MR, int NR>
NIBBLE_TILE void zero_sums(__m512 (&sums)[MR][NR]) {
#pragma GCC unroll 8
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
    for (int n = 0; n < NR; ++n) sums[m][n] = _mm512_setzero_ps();
  }
}

// c = A B. SHAPES c [MR, 16 NR] with rows c_row apart, fp32.
template <int MR, int NR>
NIBBLE_AVX512_BF16 static void store_product(float* c, int64_t c_row, const TileOperand& a, const uint32_t* b, int64_t b_step,
                                             int64_t pairs) {
  __m512 sums[MR][NR];
  zero_sums(sums);
  tile_product<MR, NR>(sums, a, b, b_step, pairs);
#pragma GCC unroll 8
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
    for (int n = 0; n < NR; ++n) _mm512_storeu_ps(c + m * c_row + 16 * n, sums[m][n]);
  }
}

// c = factor[row] * c + A B; factor nullptr: ones.
template <int MR, int NR>
NIBBLE_AVX512_BF16 static void add_product(float* c, int64_t c_row, const float* factor, const TileOperand& a,
                                           const uint32_t* b, int64_t b_step, int64_t pairs) {
  __m512 sums[MR][NR];
#pragma GCC unroll 8
  for (int m = 0; m < MR; ++m) {
    const __m512 f = _mm512_set1_ps(factor == nullptr ? 1.0f : factor[m]);
#pragma GCC unroll 4
    for (int n = 0; n < NR; ++n) sums[m][n] = _mm512_mul_ps(f, _mm512_loadu_ps(c + m * c_row + 16 * n));
  }
  tile_product<MR, NR>(sums, a, b, b_step, pairs);
#pragma GCC unroll 8
  for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 4
    for (int n = 0; n < NR; ++n) _mm512_storeu_ps(c + m * c_row + 16 * n, sums[m][n]);
  }
}

// store_product of kTileRows rows and 1 to 4 registers of columns.
NIBBLE_TILE void store_columns(int64_t registers, float* c, int64_t c_row, const TileOperand& a, const uint32_t* b,
                               int64_t b_step, int64_t pairs) {
  switch (registers) {
    case 1: store_product<kTileRows, 1>(c, c_row, a, b, b_step, pairs); break;
    case 2: store_product<kTileRows, 2>(c, c_row, a, b, b_step, pairs); break;
    case 3: store_product<kTileRows, 3>(c, c_row, a, b, b_step, pairs); break;
    default: store_product<kTileRows, 4>(c, c_row, a, b, b_step, pairs); break;
  }
}

// add_product over all `columns`, a multiple of 16. B's pairs are `columns` dwords apart.
NIBBLE_TILE void add_all_columns(int64_t columns, float* c, int64_t c_row, const float* factor, const TileOperand& a,
                                 const uint32_t* b, int64_t pairs) {
  int64_t n = 0;
  for (; n + kTileColumns <= columns; n += kTileColumns) {
    add_product<kTileRows, 4>(c + n, c_row, factor, a, b + n, columns, pairs);
  }
  switch ((columns - n) / 16) {
    case 1: add_product<kTileRows, 1>(c + n, c_row, factor, a, b + n, columns, pairs); break;
    case 2: add_product<kTileRows, 2>(c + n, c_row, factor, a, b + n, columns, pairs); break;
    case 3: add_product<kTileRows, 3>(c + n, c_row, factor, a, b + n, columns, pairs); break;
    default: break;
  }
}

// 2^x; 0 far below -126. Several at a time, step by step, since each step waits for the one before.
// NUMERICS relative error below 4e-7. The polynomial is the minimax one of degree 5 for 2^r on [0, 1) (Remez); scalef
// multiplies by 2^floor(x).
template <int N>
NIBBLE_TILE void exp2_vectors(__m512 (&x)[N]) {
  constexpr float kPolynomial[] = {8.98934009e-3f, 5.58263181e-2f, 2.40153617e-1f, 6.93153073e-1f, 9.99999925e-1f};
  __m512 r[N], p[N];
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
    r[i] = _mm512_reduce_ps(x[i], 0x09);  // x - floor(x)
    p[i] = _mm512_set1_ps(1.87757667e-3f);
  }
#pragma GCC unroll 5
  for (const float term : kPolynomial) {
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) p[i] = _mm512_fmadd_ps(p[i], r[i], _mm512_set1_ps(term));
  }
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) x[i] = _mm512_scalef_ps(p[i], x[i]);
}

// Rows become columns: 16 x 16 dwords in place, by interleaving dwords, qwords, then 128-bit lanes.
NIBBLE_TILE void transpose_16x16(__m512i (&r)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  // r[4g + c] now holds column 4L + c of rows 4g..4g+3 in each lane L.
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512i even01 = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88), odd01 = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xDD);
    const __m512i even23 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88), odd23 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xDD);
    t[c] = _mm512_shuffle_i32x4(even01, even23, 0x88);
    t[8 + c] = _mm512_shuffle_i32x4(even01, even23, 0xDD);
    t[4 + c] = _mm512_shuffle_i32x4(odd01, odd23, 0x88);
    t[12 + c] = _mm512_shuffle_i32x4(odd01, odd23, 0xDD);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

// Pairs along a row, transposed: rows of bf16 become [tiles][width / 2][kTileColumns] dwords; missing rows are zeros.
NIBBLE_AVX512_BF16 inline void pack_transposed(const uint16_t* x, int64_t stride, int64_t rows, int64_t width, uint32_t* packed) {
  const int64_t pairs = width / 2;
  for (int64_t first = 0; first < rows; first += kTileColumns, packed += pairs * kTileColumns) {
    for (int64_t c = 0; c < kTileColumns; c += 16) {
      for (int64_t p = 0; p < pairs; p += 16) {
        const auto mask = static_cast<__mmask16>(pairs - p >= 16 ? 0xFFFF : 0xFF);  // width is a multiple of 16
        __m512i r[16];
#pragma GCC unroll 16
        for (int64_t i = 0; i < 16; ++i) {
          const int64_t row = first + c + i;
          r[i] = row < rows ? _mm512_maskz_loadu_epi32(mask, x + row * stride + 2 * p) : _mm512_setzero_si512();
        }
        transpose_16x16(r);
        const int64_t count = pairs - p < 16 ? pairs - p : 16;
        for (int64_t i = 0; i < count; ++i) _mm512_storeu_si512(packed + (p + i) * kTileColumns + c, r[i]);
      }
    }
  }
}

// Pairs down the rows: rows of bf16 become [padded_rows / 2][width] dwords, rows 2i and 2i+1 in one; missing rows are zeros.
NIBBLE_AVX512_BF16 inline void pack_row_pairs(const uint16_t* x, int64_t stride, int64_t rows, int64_t padded_rows,
                                              int64_t width, uint32_t* packed) {
  for (int64_t row = 0; row < padded_rows; row += 2, packed += width) {
    for (int64_t i = 0; i < width; i += 16) {
      __m512i low = _mm512_setzero_si512(), high = low;
      if (row < rows) low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + row * stride + i)));
      if (row + 1 < rows) {
        high = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + (row + 1) * stride + i)));
      }
      _mm512_storeu_si512(packed + i, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
  }
}

// Copies rows of bf16 into [padded_rows, width]; missing rows are zeros.
NIBBLE_AVX512_BF16 inline void copy_rows(const uint16_t* x, int64_t stride, int64_t rows, int64_t padded_rows, int64_t width,
                                         uint16_t* copy) {
  for (int64_t row = 0; row < padded_rows; ++row, copy += width) {
    for (int64_t i = 0; i < width; i += 16) {
      const __m256i value = row < rows ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + row * stride + i))
                                       : _mm256_setzero_si256();
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(copy + i), value);
    }
  }
}

NIBBLE_TILE void store_bf16(uint16_t* out, __m512 value) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), (__m256i)_mm512_cvtneps_pbh(value));
}

}  // namespace nibble::nn

#endif  // __x86_64__
