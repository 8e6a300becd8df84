// y = x W^T + bias + scale * dropout(x) A^T B^T: a frozen weight and its LoRA update (Hu et al., arXiv 2106.09685).
#pragma once

#include <optional>
#include <string>

#include "core/rng.h"
#include "quant/layout.h"
#include "tensor/torch.h"

namespace nibble::nn {

// The frozen part: either 4-bit or dense in the compute dtype. Exactly one of the two is defined.
struct FrozenWeight {
  Tensor dense;                  // [Out, In]
  quant::QuantizedWeight packed;

  bool quantized() const { return packed.defined(); }
  int64_t out() const { return quantized() ? packed.out : dense.size(0); }
  int64_t in() const { return quantized() ? packed.in : dense.size(1); }
};

// The trained part. Gradients are fp32 sums over the micro-batches of one optimizer step.
struct Lora {
  Tensor a;    // [R, In], compute dtype
  Tensor b;    // [Out, R], compute dtype
  Tensor da;   // [R, In], fp32
  Tensor db;   // [Out, R], fp32
  float scale = 1.0f;    // alpha/R, or alpha/sqrt(R) with rsLoRA
  float dropout = 0.0f;  // on the input of A only
  uint64_t number = 0;   // the adapter's number in the model: its own stream of dropout masks

  int64_t rank() const { return a.size(0); }
};

struct Linear {
  std::string path;      // "model.layers.0.self_attn.q_proj"
  FrozenWeight weight;
  Tensor bias;           // [Out] or undefined
  std::optional<Lora> lora;
};

}  // namespace nibble::nn
