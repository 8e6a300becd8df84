// Softmax cross entropy of rows of logits, in fp32 with sums in fp64 where they are long.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/torch.h"

namespace nibble::nn {

// nll[i] = log sum_j exp(logits[i,j]) - logits[i, targets[i]]. SHAPES logits [N, V] bf16 or fp32, contiguous;
// targets, nll [N] at least. REQUIRES 0 <= target < V.
void cross_entropy(const Tensor& logits, std::span<const int32_t> targets, std::span<double> nll);

// The same, and replaces the logits by the gradient of the summed loss: softmax(logits) - onehot(target).
void cross_entropy_backward_in_place(const Tensor& logits, std::span<const int32_t> targets, std::span<double> nll);

}  // namespace nibble::nn
