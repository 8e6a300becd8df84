// Scalar math of inverted dropout (Srivastava et al. 2014): which random bits drop an element, and what is left of the rest.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace nibble::nn {

// An element is dropped when its 32 random bits, as a fraction of 2^32, lie below p.
inline uint32_t dropout_threshold(float p) {
  const double threshold = static_cast<double>(p) * 4294967296.0;
  return static_cast<uint32_t>(threshold < 4294967295.0 ? threshold : 4294967295.0);
}
inline float dropout_keep_scale(float p) { return 1.0f / (1.0f - p); }

NIBBLE_HOST_DEVICE inline float dropout_value(float x, uint32_t bits, uint32_t threshold, float keep_scale) {
  return bits < threshold ? 0.0f : x * keep_scale;
}

}  // namespace nibble::nn
