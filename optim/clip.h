// Gradient clipping by the global norm (Pascanu et al., arXiv 1211.5063; the formula of torch.nn.utils.clip_grad_norm_).
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/torch.h"

namespace nibble::optim {

// The square root of the sum of squares of all elements. SHAPES any, fp32, contiguous, CPU.
// NUMERICS squares and sums are fp64 over fixed chunks that are added in order: the result depends neither on the number
// of threads nor on the CPU's vector width. NaN or infinite where an element is.
double global_norm(const std::vector<Tensor>& gradients);

// What one optimizer step needs to know about its gradients.
struct ClippedGradient {
  double grad_norm = 0.0;  // of the mean gradient per trained token, before clipping
  float scale = 1.0f;      // multiply the summed gradients by this: 1/tokens and clipping in one factor

  bool finite() const;
};

// The gradients are sums over `trained_tokens` tokens (all micro-batches of the step). max_grad_norm <= 0: no clipping.
// THROWS std::invalid_argument where trained_tokens < 1: a step without trained tokens has no gradient.
ClippedGradient clip(const std::vector<Tensor>& gradients, int64_t trained_tokens, double max_grad_norm);

}  // namespace nibble::optim
