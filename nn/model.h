// The model: frozen weights, adapters, and one training step's forward and backward.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "nn/linear.h"
#include "nn/model_config.h"

namespace nibble::nn {

struct Layer {
  Tensor input_norm;            // [C]
  Tensor post_attention_norm;   // [C]
  Tensor q_norm, k_norm;        // [D] or undefined
  Linear q, k, v, o, gate, up, down;
  int64_t window = 0;           // sliding window in tokens, 0: full attention

  Linear& projection(Projection p);
  const Linear& projection(Projection p) const;
};

struct Model {
  ModelConfig config;
  at::ScalarType dtype = at::kBFloat16;  // compute dtype
  Tensor embedding;             // [V, C]
  std::vector<Layer> layers;    // L
  Tensor final_norm;            // [C]
  Tensor head;                  // [V, C]; the same tensor as embedding when tied

  // Every adapter with its module path, in a fixed order (layer, projection).
  void each_lora(const std::function<void(const std::string& path, Lora&)>& visit);
  void each_lora(const std::function<void(const std::string& path, const Lora&)>& visit) const;
};

}  // namespace nibble::nn
