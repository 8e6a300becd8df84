// Products of 32 x 32 in four tiles, of attention's kernels. Operands lie in memory as amx_tile.h says.
#pragma once

#if defined(__x86_64__)

#include "nn/amx_tile.h"

namespace nibble::nn {

inline constexpr int64_t kBlock = 2 * kAmxRows;  // rows and columns of a block, also the summed length of a step

// Rows of an operand, `stride` bytes apart.
struct AmxOperand {
  const void* data;
  int64_t stride;
};

// c [32, 32] (rows c_row floats apart) = A [32, 32 steps] B, or += with kAdd. A has rows of bf16, B's rows are pairs. REQUIRES
// AmxTiles of the calling thread.
template <bool kAdd>
NIBBLE_AMX_INLINE void block_product(float* c, int64_t c_row, const AmxOperand& a, const AmxOperand& b, int64_t steps) {
  const int64_t c_stride = 4 * c_row;
  float* const low = c + kAmxRows * c_row;
  const auto* a_at = static_cast<const unsigned char*>(a.data);
  const auto* b_at = static_cast<const unsigned char*>(b.data);
  before_tile_loads();
  if (kAdd) {
    _tile_loadd(0, c, c_stride);
    _tile_loadd(1, c + kAmxColumns, c_stride);
    _tile_loadd(2, low, c_stride);
    _tile_loadd(3, low + kAmxColumns, c_stride);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t step = 0; step < steps; ++step) {
    _tile_loadd(4, a_at, a.stride);
    _tile_loadd(6, b_at, b.stride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b_at + 64, b.stride);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a_at + kAmxRows * a.stride, a.stride);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    a_at += 64;
    b_at += kAmxRows * b.stride;
  }
  _tile_stored(0, c, c_stride);
  _tile_stored(1, c + kAmxColumns, c_stride);
  _tile_stored(2, low, c_stride);
  _tile_stored(3, low + kAmxColumns, c_stride);
}

}  // namespace nibble::nn

#endif  // __x86_64__
