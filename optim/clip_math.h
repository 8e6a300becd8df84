// The gradient's global norm and the clip factor, with one order of summation for the CPU and CUDA: fp64 all the way, so that
// both give the same bits. Host and device code alike (C++17).
//
// Order: a chunk of kChunkElements is summed by kChunkThreads lanes, element i by lane i % kChunkThreads, ascending; the
// lanes are added in a tree, lane t + stride to lane t for stride = half, quarter, ... 1. The chunks' sums are summed in the
// same way, chunk c by lane c % kChunkThreads.
#pragma once

#include <cfloat>
#include <cmath>

#include "optim/update_math.h"

namespace nibble::optim {

// What one optimizer step needs to know about its gradients.
struct ClippedGradient {
  double grad_norm = 0.0;  // of the mean gradient per trained token, before clipping
  float scale = 1.0f;      // multiply the summed gradients by this: 1/tokens and clipping in one factor

  NIBBLE_HOST_DEVICE bool finite() const {
    return grad_norm <= DBL_MAX;  // a norm is not negative, and NaN compares false
  }
};

// From the sum of the squares of gradients that are sums over `tokens` tokens. max_grad_norm <= 0: no clipping.
NIBBLE_HOST_DEVICE inline ClippedGradient clipped_gradient(double square_sum, double tokens, double max_grad_norm) {
  ClippedGradient result;
  result.grad_norm = std::sqrt(square_sum) / tokens;
  double factor = 1.0;
  if (max_grad_norm > 0.0) {
    // The epsilon keeps the quotient finite at norm zero, as torch does. NaN fails the comparison and is the caller's to
    // handle: finite() tells.
    const double wanted = max_grad_norm / (result.grad_norm + 1e-6);
    if (wanted < 1.0) factor = wanted;
  }
  result.scale = static_cast<float>(factor / tokens);
  return result;
}

}  // namespace nibble::optim
