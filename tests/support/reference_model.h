// The decoder as a composition of LibTorch operators in any float dtype, differentiable by autograd: the oracle of the
// hand-written forward and backward pass. Nothing here is shared with the code under test but the configuration.
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "nn/model.h"
#include "quant/blockwise.h"

namespace nibble::test {

// Adapter factors by "<path>.A" and "<path>.B", leaves that require gradients.
using Factors = std::map<std::string, Tensor>;

inline Factors leaf_factors(nn::Model& model, at::ScalarType dtype) {
  Factors factors;
  model.each_lora([&](const std::string& path, nn::Lora& lora) {
    factors[path + ".A"] = lora.a.detach().to(dtype, false, true).set_requires_grad(true);
    factors[path + ".B"] = lora.b.detach().to(dtype, false, true).set_requires_grad(true);
  });
  return factors;
}

class ReferenceModel {
 public:
  ReferenceModel(const nn::Model& model, const Factors& factors, at::ScalarType dtype)
      : model_(model), factors_(factors), dtype_(dtype) {}

  Tensor frozen(const nn::FrozenWeight& weight) const {
    return (weight.quantized() ? quant::dequantize(weight.packed, model_.dtype) : weight.dense).to(dtype_);
  }

  Tensor linear(const nn::Linear& linear, const Tensor& x) const {
    Tensor y = at::matmul(x, frozen(linear.weight).t());
    if (linear.bias.defined()) y = y + linear.bias.to(dtype_);
    if (linear.lora) {
      const Tensor& a = factors_.at(linear.path + ".A");
      const Tensor& b = factors_.at(linear.path + ".B");
      y = y + static_cast<double>(linear.lora->scale) * at::matmul(at::matmul(x, a.t()), b.t());
    }
    return y;
  }

  Tensor norm(const Tensor& x, const Tensor& weight) const {
    const Tensor rstd = at::rsqrt(x.pow(2).mean(-1, true) + model_.config.rms_norm_eps);
    return x * rstd * weight.to(dtype_);
  }

  // Rotates the halves of each head by position * frequency. SHAPES x [T, H, D].
  Tensor rope(const Tensor& x, const Tensor& positions) const {
    const int64_t half = model_.config.head_dim / 2;
    const Tensor exponent = at::arange(half, at::kDouble) / static_cast<double>(half);
    const Tensor frequency = at::pow(model_.config.rope_theta, -exponent);
    const Tensor angle = (positions.to(at::kDouble).unsqueeze(-1) * frequency).unsqueeze(1).to(dtype_);
    const Tensor c = angle.cos(), s = angle.sin(), a = x.narrow(-1, 0, half), b = x.narrow(-1, half, half);
    return at::cat({a * c - b * s, b * c + a * s}, -1);
  }

  Tensor layer(const nn::Layer& l, const Tensor& x, const Tensor& positions, const Tensor& allowed) const {
    const nn::ModelConfig& c = model_.config;
    const int64_t tokens = x.size(0);
    const auto heads = [&](const Tensor& t, int64_t count) { return t.view({tokens, count, c.head_dim}); };
    const Tensor h = norm(x, l.input_norm);
    Tensor q = heads(linear(l.q, h), c.num_attention_heads), k = heads(linear(l.k, h), c.num_key_value_heads);
    const Tensor v = heads(linear(l.v, h), c.num_key_value_heads);
    if (l.q_norm.defined()) {
      q = norm(q, l.q_norm);
      k = norm(k, l.k_norm);
    }
    q = rope(q, positions);
    k = rope(k, positions);
    const int64_t group = c.num_attention_heads / c.num_key_value_heads;
    const auto by_head = [](const Tensor& t) { return t.transpose(0, 1); };  // [H, T, D]
    const Tensor scores = at::matmul(by_head(q), by_head(k.repeat_interleave(group, 1)).transpose(1, 2)) /
                          std::sqrt(static_cast<double>(c.head_dim));
    Tensor mask = allowed;
    if (l.window > 0) {
      const Tensor at_row = at::arange(tokens).unsqueeze(1), at_column = at::arange(tokens).unsqueeze(0);
      mask = mask.logical_and((at_row - at_column).lt(l.window));
    }
    const Tensor p = at::softmax(scores.masked_fill(mask.logical_not(), -INFINITY), -1);
    const Tensor attended = at::matmul(p, by_head(v.repeat_interleave(group, 1))).transpose(0, 1).reshape({tokens, -1});
    const Tensor mid = x + linear(l.o, attended);
    const Tensor n = norm(mid, l.post_attention_norm);
    return mid + linear(l.down, at::silu(linear(l.gate, n)) * linear(l.up, n));
  }

  // Causal within each document.
  static Tensor allowed(const std::vector<int32_t>& document_starts) {
    const int64_t tokens = document_starts.back();
    Tensor mask = at::zeros({tokens, tokens}, at::kBool);
    for (size_t d = 0; d + 1 < document_starts.size(); ++d) {
      const int64_t begin = document_starts[d], n = document_starts[d + 1] - begin;
      mask.narrow(0, begin, n).narrow(1, begin, n).copy_(at::ones({n, n}, at::kBool).tril());
    }
    return mask;
  }

  // SHAPES -> [T, V]
  Tensor logits(const Tensor& ids, const Tensor& positions, const std::vector<int32_t>& document_starts) const {
    Tensor x = model_.embedding.to(dtype_).index_select(0, ids);
    const Tensor mask = allowed(document_starts);
    for (const nn::Layer& l : model_.layers) x = layer(l, x, positions, mask);
    return at::matmul(norm(x, model_.final_norm), frozen(model_.head).t());
  }

 private:
  const nn::Model& model_;
  const Factors& factors_;
  at::ScalarType dtype_;
};

}  // namespace nibble::test
