// Scalar math of blockwise quantization, in IEEE fp32 with one rounding an operation: the CUDA kernels' decisions. C++17; what
// takes its tables as arguments is for the device, too.
#pragma once

#include <cstdint>

#include "core/host_device.h"
#include "quant/codebook.h"

namespace nibble::quant {

// The bits of |x| order like |x| for finite values, with infinities and NaNs above them: a maximum over these finds a
// block's absmax and whether anything in it is not finite, in one pass.
inline constexpr uint32_t kMagnitudeMask = 0x7FFFFFFFu;
inline constexpr uint32_t kInfinityBits = 0x7F800000u;

// The code of a normalized value: how many thresholds it is strictly greater than. NaN takes code 0.
inline int nf4_code(float scaled) {
  int code = 0;
  for (float threshold : kNf4Thresholds) code += scaled > threshold;
  return code;
}

// Code 8 for a negative value that rounds to zero, as CUDA gives it.
inline int fp4_code(float scaled) {
  const float magnitude = scaled < 0.0f ? -scaled : scaled;
  int size = 0;
  for (float threshold : kFp4Thresholds) size += magnitude > threshold;
  return kFp4CodeBySize[static_cast<unsigned>(size)] + (scaled < 0.0f ? 8 : 0);
}

// The kernels' binary search in the dynamic map, with their tie rules; NaN ends at code 0.
NIBBLE_HOST_DEVICE constexpr uint8_t dynamic_code(float scaled, const float* map) {
  int pivot = 127, lower = 0, upper = 255;
  for (int step = 64; step > 0; step >>= 1) {
    if (scaled > map[pivot]) {
      lower = pivot;
      pivot += step;
    } else {
      upper = pivot;
      pivot -= step;
    }
  }
  const float value = map[pivot];
  if (scaled > value) return static_cast<uint8_t>(scaled > (map[upper] + value) * 0.5f ? upper : pivot);
  return static_cast<uint8_t>(scaled < (map[lower] + value) * 0.5f ? lower : pivot);
}

// A scale from its 8-bit code: product and sum are rounded separately.
inline float nested_absmax_value(uint8_t code, float nested_absmax, float offset) {
  const float product = kDynamicMapSigned[code] * nested_absmax;
  return product + offset;
}

}  // namespace nibble::quant
