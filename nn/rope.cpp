#include "nn/rope.h"

#include <cmath>
#include <numbers>

#include "core/error.h"
#include "nn/cuda_table.h"
#include "nn/rope_cpu.h"
#include "nn/rows.h"

namespace nibble::nn {
namespace {

// Llama 3.1's scaling: long wavelengths stretched by factor, short ones kept, a linear blend between (transformers,
// modeling_rope_utils.py, _compute_llama3_parameters; the same order of fp32 operations).
Tensor llama3_frequencies(const Tensor& frequency, const RopeScaling& scaling) {
  const auto context = static_cast<double>(scaling.original_max_position_embeddings);
  const double low = scaling.low_freq_factor, high = scaling.high_freq_factor;
  if (!(low > 0.0) || !(high > low) || !(context > 0.0)) {
    throw ConfigError(fmt::format("rope scaling llama3 has low_freq_factor {}, high_freq_factor {} and "
                                  "original_max_position_embeddings {}; expected 0 < low < high and a positive length",
                                  low, high, scaling.original_max_position_embeddings));
  }
  const Tensor wavelength = 2.0 * std::numbers::pi / frequency;
  const Tensor is_long = wavelength > context / low, is_short = wavelength < context / high;
  const Tensor stretched = at::where(is_long, frequency / scaling.factor, frequency);
  const Tensor smooth = (context / wavelength - low) / (high - low);
  const Tensor blended = (1.0 - smooth) * stretched / scaling.factor + smooth * stretched;
  return at::where(at::logical_or(is_long, is_short), stretched, blended);
}

Tensor scaled(const Tensor& frequency, const RopeScaling& scaling) {
  if (scaling.kind != RopeScaling::Kind::kNone && !(scaling.factor > 0.0)) {
    throw ConfigError(fmt::format("rope scaling factor is {}, expected a positive number", scaling.factor));
  }
  switch (scaling.kind) {
    case RopeScaling::Kind::kNone: return frequency;
    case RopeScaling::Kind::kLinear: return frequency / scaling.factor;
    case RopeScaling::Kind::kLlama3: return llama3_frequencies(frequency, scaling);
  }
  throw std::logic_error("no such rope scaling");
}

template <class Element>
RopeRows<Element> rope_rows(const Tensor& x, const Tensor& positions, const RopeTable& table, bool inverse) {
  return {elements<Element>(x), elements<const int32_t>(positions), elements<const float>(table.cos),
          elements<const float>(table.sin), x.stride(0), x.stride(1), x.size(1), x.size(2) / 2, inverse};
}

}  // namespace

Tensor rope_frequencies(const ModelConfig& config) {
  if (config.head_dim <= 0 || config.head_dim % 2 != 0) {
    throw ConfigError(fmt::format("head_dim is {}; rotary embedding needs a positive even number", config.head_dim));
  }
  const Tensor exponent = at::arange(0, config.head_dim, 2, at::kLong).to(at::kFloat) / config.head_dim;
  const Tensor frequency = scaled(at::reciprocal(at::pow(config.rope_theta, exponent)), config.rope_scaling);
  if (!at::isfinite(frequency).all().item<bool>()) {
    throw ConfigError(fmt::format("rope_theta {} gives no finite frequency for head_dim {}", config.rope_theta, config.head_dim));
  }
  return frequency;
}

RopeTable make_rope_table(const ModelConfig& config, int64_t max_positions) {
  const Tensor angle = at::outer(at::arange(max_positions, at::kLong).to(at::kFloat), rope_frequencies(config));
  return {angle.cos(), angle.sin()};
}

void rope_in_place(const Tensor& x, const Tensor& positions, const RopeTable& table, bool inverse, const gpu::Queue& queue) {
  tensor::expect_shape(x, {-1, -1, -1}, "x");
  const at::ScalarType dtype = expect_elements(x, "x");
  tensor::expect_shape(positions, {x.size(0)}, "positions");
  expect_contiguous(positions, at::kInt, "positions");
  const int64_t tokens = x.size(0), heads = x.size(1), half = x.size(2) / 2;
  if (x.size(2) % 2 != 0 || table.cos.size(1) != half) {
    throw std::logic_error(fmt::format("x has head width {}, the rope table {}", x.size(2), 2 * table.cos.size(1)));
  }
  if (queue) {
    queue.module->nn->rope({rope_rows<void>(x, positions, table, inverse), tokens, dtype == at::kBFloat16}, queue.stream);
    return;
  }
  const int32_t* position = elements<int32_t>(positions);
  for (int64_t t = 0; t < tokens; ++t) {
    if (position[t] < 0 || position[t] >= table.max_positions()) {
      throw std::logic_error(fmt::format("position {} of token {} is outside the rope table of {}", position[t], t,
                                         table.max_positions()));
    }
  }
  parallel_rows(tokens, heads * 2 * half, [&](int64_t begin, int64_t end) {
    if (dtype == at::kFloat) {
      rope_cpu(rope_rows<float>(x, positions, table, inverse), begin, end);
    } else {
      rope_cpu(rope_rows<uint16_t>(x, positions, table, inverse), begin, end);
    }
  });
}

}  // namespace nibble::nn
