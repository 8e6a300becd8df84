// Moments in 8 bits, blockwise (Dettmers et al., "8-bit Optimizers via Block-wise Quantization", arXiv 2110.02861): a value
// is codebook[code] * absmax of its block of kMomentBlock values. First moments use the signed dynamic map, second moments
// the unsigned one. Host and device code alike (C++17).
//
// Semantics of bitsandbytes' CUDA kernels, without their fast math: a value divided by its block's absmax takes the nearest
// code, with the ties of their binary search, and a first moment never changes its sign on the way. In a block of zeros the
// quotients are NaN, and the codes (255 and 0) mean nothing: they are multiplied by 0.
#pragma once

#include <cstdint>
#include <cstring>

#include "gpu/launch.h"

namespace nibble::optim {

// A dynamic map and the way to its codes: thresholds as a binary search tree in heap order (node 1 is the root, node n's
// children are 2n and 2n+1, entry 0 is unused). A value's code is the number of thresholds strictly below it.
struct MomentCodes {
  float map[256];
  float tree[256];
};

// Both moments' codes, in one piece so that a device holds them in one buffer.
struct MomentTables {
  MomentCodes m;  // signed
  MomentCodes v;  // unsigned
};

inline constexpr int kSignedZeroCode = 127;  // the signed map's codes below this one are negative

// Eight levels, written out, with a signed index: a compiler turns this into gathers, where it would not vectorize a loop.
NIBBLE_HOST_DEVICE inline int32_t nearest_code(const float* tree, float scaled) {
  int32_t node = 1;
  node = 2 * node + (scaled > tree[node] ? 1 : 0);
  node = 2 * node + (scaled > tree[node] ? 1 : 0);
  node = 2 * node + (scaled > tree[node] ? 1 : 0);
  node = 2 * node + (scaled > tree[node] ? 1 : 0);
  node = 2 * node + (scaled > tree[node] ? 1 : 0);
  node = 2 * node + (scaled > tree[node] ? 1 : 0);
  node = 2 * node + (scaled > tree[node] ? 1 : 0);
  node = 2 * node + (scaled > tree[node] ? 1 : 0);
  return node - 256;
}

// Magnitudes order like their bits, with NaN above all: a maximum over these is a block's absmax in any order of reduction.
NIBBLE_HOST_DEVICE inline uint32_t float_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
NIBBLE_HOST_DEVICE inline uint32_t magnitude_bits(float value) { return float_bits(value) & 0x7FFFFFFFu; }
NIBBLE_HOST_DEVICE inline float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// The code of a second moment.
NIBBLE_HOST_DEVICE inline uint8_t encode_v(const float* tree, float v, float absmax) {
  return static_cast<uint8_t>(nearest_code(tree, v / absmax));
}

// The code of a first moment. A negative value that would round to zero takes the smallest negative code.
NIBBLE_HOST_DEVICE inline uint8_t encode_m(const float* tree, float m, float absmax) {
  const int32_t code = nearest_code(tree, m / absmax);
  const bool code_is_negative = code < kSignedZeroCode, m_is_negative = float_bits(m) >> 31 != 0;
  const int32_t toward_sign = m > 0.0f ? 1 : -1;  // modulo 256
  return static_cast<uint8_t>(code + (code_is_negative != m_is_negative ? toward_sign : 0));
}

}  // namespace nibble::optim
