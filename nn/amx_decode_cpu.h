// 4-bit weights decoded straight into the panels of nn/amx_product_cpu.h: what decoding to rows and packing these gives, but that
// bf16 denormals become zeros, which is what tiles take them for. Plain pointers, no allocation, one thread each.
#pragma once

#include <cstdint>

#include "quant/piece_scales.h"

namespace nibble::nn {

// A weight [Out, In] as its codes.
struct PackedMatrix {
  quant::DequantizeSpan span;
  int64_t in;
};

inline constexpr int64_t kDecodedStep = 32;  // the step that panels are made with

// Whether this CPU and this weight have these kernels.
bool has_panel_decoder(const PackedMatrix& w);

// Columns are rows of the weight: terms [k, k + terms) of `columns` (at most 32) rows from `row` on, to one panel. Fetches what the panel
// after it will read. REQUIRES has_panel_decoder; k and terms multiples of 64, terms at most 2048.
void decode_panel_from_rows_cpu(const PackedMatrix& w, int64_t row, int64_t columns, int64_t k, int64_t terms, uint16_t* panel);

// Columns are the weight's: terms [k, k + terms) are its rows, to panels of 32 columns for [column, end), panel_stride values apart.
// REQUIRES has_panel_decoder; k, terms, column and end multiples of 32.
void decode_panels_from_columns_cpu(const PackedMatrix& w, int64_t column, int64_t end, int64_t k, int64_t terms, uint16_t* panels,
                                    int64_t panel_stride);

}  // namespace nibble::nn
