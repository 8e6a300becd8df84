// Small random models and batches for tests, deterministic from a seed.
#pragma once

#include <vector>

#include "core/rng.h"
#include "nn/lora.h"
#include "nn/model.h"
#include "quant/blockwise.h"

namespace nibble::test {

inline Tensor random_tensor(at::IntArrayRef sizes, uint64_t seed, double scale = 1.0) {
  Tensor t = at::empty(sizes, at::kFloat);
  float* values = t.mutable_data_ptr<float>();
  for (int64_t i = 0; i < t.numel(); ++i) {
    // The sum of 12 uniforms has variance 1.
    double sum = -6.0;
    for (uint64_t k = 0; k < 12; ++k) {
      sum += random_uniform({seed, RngPurpose::kTest, k}, static_cast<uint64_t>(i));
    }
    values[i] = static_cast<float>(scale * sum);
  }
  return t;
}

struct TinyModelOptions {
  at::ScalarType dtype = at::kFloat;
  bool quantized = false;
  bool qk_norm = false;
  bool bias = false;
  int64_t window = 0;
  int64_t layers = 2;
  int64_t hidden = 48, intermediate = 80, heads = 4, kv_heads = 2, head_dim = 16, vocab = 96;
  int64_t r = 4;
};

inline nn::Model tiny_model(const TinyModelOptions& o) {
  nn::Model m;
  nn::ModelConfig& c = m.config;
  c.vocab_size = o.vocab;
  c.hidden_size = o.hidden;
  c.intermediate_size = o.intermediate;
  c.num_hidden_layers = o.layers;
  c.num_attention_heads = o.heads;
  c.num_key_value_heads = o.kv_heads;
  c.head_dim = o.head_dim;
  c.max_position_embeddings = 256;
  c.qk_norm = o.qk_norm;
  c.attention_qkv_bias = o.bias;
  c.layer_window.assign(static_cast<size_t>(o.layers), o.window);
  m.dtype = o.dtype;
  uint64_t seed = 100;
  const auto weight = [&](at::IntArrayRef sizes, double scale) { return random_tensor(sizes, ++seed, scale).to(o.dtype); };
  const auto norm = [&](int64_t n) { return (random_tensor({n}, ++seed, 0.1) + 1.0).to(o.dtype); };
  m.embedding = weight({o.vocab, o.hidden}, 1.0);
  m.head.dense = weight({o.vocab, o.hidden}, 0.2);
  m.final_norm = norm(o.hidden);
  for (int64_t l = 0; l < o.layers; ++l) {
    nn::Layer layer;
    layer.input_norm = norm(o.hidden);
    layer.post_attention_norm = norm(o.hidden);
    if (o.qk_norm) {
      layer.q_norm = norm(o.head_dim);
      layer.k_norm = norm(o.head_dim);
    }
    layer.window = o.window;
    for (int p = 0; p < nn::kProjections; ++p) {
      const auto projection = static_cast<nn::Projection>(p);
      const nn::LinearShape shape = nn::projection_shape(c, projection);
      nn::Linear& linear = layer.projection(projection);
      linear.path = nn::projection_path(l, projection);
      const Tensor w = weight({shape.out, shape.in}, 1.0 / std::sqrt(static_cast<double>(shape.in)));
      if (o.quantized) {
        linear.weight.packed = quant::quantize(w, {});
      } else {
        linear.weight.dense = w;
      }
      if (shape.bias) linear.bias = weight({shape.out}, 0.2);
    }
    m.layers.push_back(std::move(layer));
  }
  nn::LoraConfig lora;
  lora.r = o.r;
  lora.alpha = 2.0 * static_cast<double>(o.r);
  nn::attach_lora(m, lora, 7);
  // A trained adapter: B is not zero, so that every path carries a gradient.
  m.each_lora([&](const std::string&, nn::Lora& a) { a.b.copy_(random_tensor(a.b.sizes(), ++seed, 0.1)); });
  return m;
}

// Two or more documents of these lengths with random ids; labels are the ids, the first third of each masked.
struct TinyBatch {
  std::vector<int32_t> ids, labels, positions, starts{0};

  TinyBatch(const std::vector<int32_t>& lengths, int64_t vocab, uint64_t seed = 3) {
    for (int32_t n : lengths) {
      for (int32_t i = 0; i < n; ++i) {
        const auto id = static_cast<int32_t>(random_below({seed, RngPurpose::kTest, 99}, ids.size(), static_cast<uint64_t>(vocab)));
        ids.push_back(id);
        labels.push_back(i == 0 || i < n / 3 ? -100 : id);
        positions.push_back(i);
      }
      starts.push_back(static_cast<int32_t>(ids.size()));
    }
  }
  nn::TokenBatch view() const { return {ids, labels, positions, starts}; }
  Tensor ids_tensor() const { return at::tensor(std::vector<int64_t>(ids.begin(), ids.end())); }
  Tensor positions_tensor() const { return at::tensor(std::vector<int64_t>(positions.begin(), positions.end())); }
};

}  // namespace nibble::test
