// Rotary position embedding (Su et al. 2021) in the half-split convention of Hugging Face: element i of a head rotates with
// element i + D/2. The rotation's gradient is the inverse rotation.
#pragma once

#include "gpu/module.h"
#include "nn/model_config.h"
#include "tensor/torch.h"

namespace nibble::nn {

// Cosines and sines of position * frequency, as transformers computes them in fp32.
struct RopeTable {
  Tensor cos, sin;  // [max_positions, D/2] fp32

  int64_t max_positions() const { return cos.defined() ? cos.size(0) : 0; }
};

// The frequency of each pair: rope_theta^(-2i/D), changed by "linear" or "llama3" scaling. SHAPES -> [D/2] fp32.
// THROWS ConfigError for an odd or zero head_dim, and for numbers that give no finite frequency.
Tensor rope_frequencies(const ModelConfig& config);

// REQUIRES max_positions >= 0. THROWS as rope_frequencies.
RopeTable make_rope_table(const ModelConfig& config, int64_t max_positions);

// Rotates each head of each token by its position, or back with inverse. SHAPES x [T, H, D], bf16 or fp32, any token and
// head stride; positions [T] int32, each inside the table. NUMERICS the table is rounded to x's dtype first.
// THROWS std::logic_error on other shapes, dtypes or positions. With a queue all tensors are its device's, and the caller
// has checked the positions.
void rope_in_place(const Tensor& x, const Tensor& positions, const RopeTable& table, bool inverse,
                   const gpu::Queue& queue = {});

}  // namespace nibble::nn
