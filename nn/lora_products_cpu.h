// The small products of LoRA on AVX512_BF16: plain pointers, no allocation, one thread each. A general matrix product runs at
// a fraction of its rate where one dimension is a rank of 8 to 64; here the factor stays in the first cache and every long
// operand is read once.
//
// bf16 bits are uint16_t. Rows of a long operand are `stride` elements apart; a stride is even, since two neighbours enter a
// product together (nn/avx512_tile.h). N and K below are multiples of 16, R is even.
// NUMERICS Products of bf16 are exact, sums fp32 in an order that depends on the shapes only.
#pragma once

#include <cstdint>

#include "nn/const_rows.h"

namespace nibble::nn {

inline constexpr int64_t kOuterColumns = 16;  // of add_outer_cpu's strips

inline int64_t padded_rank(int64_t rank) { return (rank + 15) / 16 * 16; }

// A factor's dwords for the functions below: pairs down the summed axis, columns adjacent and filled up to a multiple of 16
// with zeros. An odd number of terms is filled up with zeros too.
inline int64_t packed_factor_dwords(int64_t summed, int64_t columns) { return (summed + 1) / 2 * padded_rank(columns); }
// factor [summed, columns], or with `transposed` its transpose [columns, summed].
void pack_factor_cpu(const ConstRows& factor, bool transposed, int64_t summed, int64_t columns, uint32_t* packed);

// h[t] = scale * x[t] W for `tokens` rows. SHAPES x [tokens, K], packed W [K, R], h [tokens, R] adjacent rows.
void project_rows_cpu(const ConstRows& x, int64_t tokens, int64_t K, const uint32_t* packed, int64_t R, float scale, uint16_t* h);

// y[t] += scale * h[t] M for `tokens` rows. SHAPES y [tokens, N], h [tokens, R] adjacent rows, packed M [R, N].
void add_rows_cpu(uint16_t* y, int64_t y_stride, int64_t tokens, int64_t N, const uint16_t* h, int64_t R, const uint32_t* packed,
                  float scale);

// sums = h^T x for the columns [first, last) of x, in strips of kOuterColumns. SHAPES packed h [tokens, R] as a factor, x
// [tokens, last] , sums [(last - first) / kOuterColumns, padded_rank(R), kOuterColumns].
void outer_sums_cpu(const ConstRows& x, int64_t tokens, int64_t first, int64_t last, const uint32_t* packed_h, int64_t R, float* sums);

// g += scale * sums of one strip, whose first column is `column`. SHAPES g [R, N] with rows g_stride apart, or with
// `transposed` [N, R].
void add_strip_cpu(const float* sums, int64_t column, int64_t R, float scale, bool transposed, float* g, int64_t g_stride);

// What products on tiles read (nn/amx_product.h) of rows as short as a rank, for which general copies take longer than the product.
// out[c][t] = x[t][c]. SHAPES x [rows, columns], out [columns, rows].
void transpose_rows_cpu(const ConstRows& x, int64_t rows, int64_t columns, uint16_t* out);
// Rows filled up with zeros. SHAPES x [rows, columns], out [rows, padded], a multiple of 32.
void pad_rows_cpu(const ConstRows& x, int64_t rows, int64_t columns, int64_t padded, uint16_t* out);

}  // namespace nibble::nn
