// Inverted dropout whose mask is a function of a counter, never stored: recompute and resume see the same mask.
#pragma once

#include "core/rng.h"
#include "gpu/module.h"
#include "tensor/torch.h"

namespace nibble::nn {

// A stream of masks for one adapter and micro-batch. Adapters are numbered below 2^24.
inline RngKey dropout_key(uint64_t seed, uint64_t micro_step, uint64_t adapter) {
  // The adapter takes the seed's high bits: each adapter has its own key, each micro-batch its own counter.
  return {seed ^ (adapter + 1) * 0x9E3779B97F4A7C15ull, RngPurpose::kDropout, micro_step};
}

// y = 0 with probability p, else x / (1 - p). x and y may be the same tensor. SHAPES any, contiguous, bf16 or fp32.
// With a queue, the tensors are its device's, and what `step` points to there is added to key.step when the work is done.
void dropout(const Tensor& x, const Tensor& y, float p, const RngKey& key, const gpu::Queue& queue = {}, const uint64_t* step = nullptr);

// y += dropout(x), the dropped values rounded to the dtype before they are added. x's values are not kept. SHAPES as dropout.
void add_dropout(const Tensor& x, const Tensor& y, float p, const RngKey& key, const gpu::Queue& queue = {}, const uint64_t* step = nullptr);

}  // namespace nibble::nn
