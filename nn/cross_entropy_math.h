// Scalar math of the softmax cross entropy, written so that the compiler vectorizes loops over it. Shared with kernels.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/host_device.h"

namespace nibble::nn {

// exp(x) for x <= 0, within 2 ulp; below -87 it is 0. Cody-Waite reduction to |r| <= ln(2)/2 and the degree-6 Taylor
// polynomial in Horner form (coefficients 1/n!), whose error there is below 2^-25.
NIBBLE_HOST_DEVICE inline float exp_nonpositive(float x) {
  constexpr float kLog2e = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  const float clamped = x < -87.0f ? -87.0f : x;
  // Adding 1.5 * 2^23 rounds to the nearest integer in the float's low bits.
  const float shifted = clamped * kLog2e + 12582912.0f;
  const float n = shifted - 12582912.0f;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  float p = 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // n from those low bits, where it is for a NaN too: what a cast to an integer makes of one is not defined.
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return x < -87.0f ? 0.0f : p * scale;
}

}  // namespace nibble::nn
