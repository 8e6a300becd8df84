// Scalar math of RMSNorm (Zhang & Sennrich 2019, equation 4) with the rounding of transformers' LlamaRMSNorm: statistics
// and x * rstd in fp32, rounded to the dtype, then times the weight in the dtype.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace nibble::nn {

// 1 / sqrt(mean(x^2) + eps)
NIBBLE_HOST_DEVICE inline float rms_norm_rstd(double sum_of_squares, int64_t width, double eps) {
  return static_cast<float>(1.0 / std::sqrt(sum_of_squares / static_cast<double>(width) + eps));
}

// The factor of x in dx = rstd * (g - x * factor), where g = dy * weight and dot = sum(g * x).
NIBBLE_HOST_DEVICE inline float rms_norm_backward_factor(double dot, int64_t width, float rstd) {
  return static_cast<float>(dot * static_cast<double>(rstd) * static_cast<double>(rstd) / static_cast<double>(width));
}

}  // namespace nibble::nn
