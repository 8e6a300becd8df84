// What the element-wise CPU loops share: elements of a row read and written as fp32, and lanes of a reduction.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "core/vectorize.h"

namespace nibble::nn {

// Independent partial sums of a row reduction: wide enough for two AVX-512 registers, the same on every machine.
inline constexpr int64_t kRowLanes = 32;

NIBBLE_INLINE float load_element(const float* row, int64_t i) { return row[i]; }
NIBBLE_INLINE float load_element(const uint16_t* row, int64_t i) { return bf16_to_float(row[i]); }
NIBBLE_INLINE void store_element(float* row, int64_t i, float value) { row[i] = value; }
NIBBLE_INLINE void store_element(uint16_t* row, int64_t i, float value) { row[i] = float_to_bf16(value); }

// The value that a tensor of this element type would hold: fp32 unchanged, uint16_t (bf16 bits) rounded.
template <class Element>
NIBBLE_INLINE float round_to(float value) {
  if constexpr (sizeof(Element) == sizeof(float)) {
    return value;
  } else {
    return bf16_to_float(float_to_bf16(value));
  }
}

// By halves: as independent as the lanes, so short rows do not wait for a chain of additions.
NIBBLE_INLINE double sum_lanes(const float (&lanes)[kRowLanes]) {
  double wide[kRowLanes];
  for (int64_t l = 0; l < kRowLanes; ++l) wide[l] = lanes[l];
  for (int64_t half = kRowLanes / 2; half > 0; half /= 2) {
    for (int64_t l = 0; l < half; ++l) wide[l] += wide[l + half];
  }
  return wide[0];
}

}  // namespace nibble::nn
