// What the element-wise CPU loops share: one function compiled for several instruction sets, and elements of a row read
// and written as fp32.
//
// The loops are plain C++ over independent lanes. The compiler makes a version for each instruction set and the loader
// picks one (target_clones). No version may contract a*b+c, so all of them give the same bits.
#pragma once

#include <cstdint>

#include "nn/cross_entropy_math.h"

// The address sanitizer's start-up runs before the loader could pick a version.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define NIBBLE_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define NIBBLE_CLONES
#endif
#define NIBBLE_INLINE inline __attribute__((always_inline))

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

NIBBLE_INLINE double sum_lanes(const float (&lanes)[kRowLanes]) {
  double sum = 0.0;
  for (float lane : lanes) sum += lane;
  return sum;
}

}  // namespace nibble::nn
