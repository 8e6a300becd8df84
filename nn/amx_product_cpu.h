// Matrix products in bf16 on AMX tiles: plain pointers, no allocation, one thread each.
//
// The right operand is packed in panels of 32 columns, in the order in which tiles read it; a panel stays in a cache while all
// rows of the left operand, which is read as it lies, go by. A block of 32 x 32 results is made in four tiles.
// NUMERICS as nn/amx_tile.h. A row's results do not depend on how many rows there are.
#pragma once

#include <cstdint>

#include "nn/const_rows.h"

namespace nibble::nn {

inline constexpr int64_t kPanelColumns = 32;

// Columns that are stored of a panel of so many.
inline int64_t stored_columns(int64_t columns) { return columns > kPanelColumns / 2 ? kPanelColumns : kPanelColumns / 2; }

// How many terms of a sum a tile takes at a time: an even number of at most 32 that divides `summed`, as large as possible. 0:
// there is none of at least 8.
int64_t amx_step(int64_t summed);

// bf16 values of a panel.
inline int64_t panel_values(int64_t summed) { return summed * kPanelColumns; }

// `columns` (at most 32) columns of B; missing ones are zeros. SHAPES panel [panel_values(summed)], 64-byte aligned; step as
// amx_step has it, of the whole sum.
// B's columns are rows of w: B[k, n] = w[n, k]. SHAPES w [columns, summed].
void pack_panel_from_rows_cpu(const ConstRows& w, int64_t columns, int64_t summed, int64_t step, uint16_t* panel);
// B as it lies. SHAPES w [summed, columns].
void pack_panel_from_columns_cpu(const ConstRows& w, int64_t columns, int64_t summed, int64_t step, uint16_t* panel);

// A product of low rank that is added to another one: scale h F.
struct LowRankProduct {
  ConstRows h;            // [rows, rank]
  const uint16_t* panel;  // F's columns [rank, columns], packed with a step of kLowRankStep
  int64_t rank;           // a multiple of kLowRankStep; 0: none
  float scale;
};
inline constexpr int64_t kLowRankStep = 32;

// The left operand and the packed columns. A long sum is made in parts, so that what a part reads stays in a cache.
struct PanelProduct {
  ConstRows x;            // [rows, summed]
  int64_t rows, summed, step;
  const uint16_t* panel;  // [summed, columns]
  int64_t columns;        // at most 32
  float* partial;         // [rows, 32], 64-byte aligned: the sum of the parts before this one, or nullptr
};

// partial = x B, or partial += x B with `add`.
void sum_panel_product_cpu(const PanelProduct& product, bool add);

// y = alpha (partial + x B) + c, rounded to bf16; then += scale h F, rounded again, as if h F were added by a product of its own.
// SHAPES y [rows, columns]; c the same, or with a stride of 0 one row of biases, or nullptr. c may be y.
// REQUIRES a step of kLowRankStep where there is a product of low rank.
void store_panel_product_cpu(const PanelProduct& product, float alpha, const LowRankProduct& low, const ConstRows& c, uint16_t* y,
                             int64_t y_stride);

// g += alpha (partial + x B) in fp32. SHAPES g [rows, columns], element (m, n) at m * g_row + n * g_column, one of which is 1.
void add_panel_product_cpu(const PanelProduct& product, float alpha, float* g, int64_t g_row, int64_t g_column);

}  // namespace nibble::nn
