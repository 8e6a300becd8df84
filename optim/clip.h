// Gradient clipping by the global norm (Pascanu et al., arXiv 1211.5063; the formula of torch.nn.utils.clip_grad_norm_).
#pragma once

#include <cstdint>
#include <vector>

#include "optim/clip_math.h"
#include "tensor/torch.h"

namespace nibble::optim {

// The square root of the sum of squares of all elements. SHAPES any, fp32, contiguous, CPU.
// NUMERICS squares and sums are fp64 in a fixed order (optim/clip_math.h): the result depends neither on the number of
// threads nor on the CPU's vector width, and CUDA computes the same bits. NaN or infinite where an element is.
double global_norm(const std::vector<Tensor>& gradients);

// The gradients are sums over `trained_tokens` tokens (all micro-batches of the step). max_grad_norm <= 0: no clipping.
// THROWS std::invalid_argument where trained_tokens < 1: a step without trained tokens has no gradient.
ClippedGradient clip(const std::vector<Tensor>& gradients, int64_t trained_tokens, double max_grad_norm);

}  // namespace nibble::optim
