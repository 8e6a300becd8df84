// Rotary position embedding on plain pointers. Element: float, or uint16_t for bf16 bits. Strides count elements.
#pragma once

#include <cstdint>

namespace nibble::nn {

template <class Element>
struct RopeRows {
  Element* x;                    // [T, heads, 2 * half]
  const int32_t* positions;      // [T]
  const float* cos;              // [max_positions, half]
  const float* sin;
  int64_t token_stride, head_stride, heads, half;
  bool inverse;
};
void rope_cpu(const RopeRows<float>& rows, int64_t begin_token, int64_t end_token);
void rope_cpu(const RopeRows<uint16_t>& rows, int64_t begin_token, int64_t end_token);

}  // namespace nibble::nn
