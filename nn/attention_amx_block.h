// Products of 32 x 32 in four tiles, of attention's kernels. Operands lie in memory as amx_tile.h says.
#pragma once

#if defined(__x86_64__)

#include "nn/amx_tile.h"

namespace nibble::nn {

// Rows of an operand, `stride` bytes apart.
struct AmxOperand {
  const void* data;
  int64_t stride;
};

// c [32, 32] (rows c_row floats apart) = A [32, 32 steps] B, or += with kAdd. A has rows of bf16, B's rows are pairs. REQUIRES
// AmxTiles of the calling thread.
template <bool kAdd>
NIBBLE_AMX_INLINE void block_product(float* c, int64_t c_row, const AmxOperand& a, const AmxOperand& b, int64_t steps) {
  const auto *above = static_cast<const char*>(a.data), *left = static_cast<const char*>(b.data);
  sum_block<false>(kAdd ? c : nullptr, c, c_row, {above, above + kAmxRows * a.stride, a.stride, 2 * kAmxSummed},
                   {left, left + 4 * kAmxColumns, b.stride, kAmxRows * b.stride}, steps);
}

}  // namespace nibble::nn

#endif  // __x86_64__
