// Which linears get an adapter, and how a new adapter starts (Hu et al., arXiv 2106.09685; rsLoRA: Kalajdzievski,
// arXiv 2312.03732).
#pragma once

#include <vector>

#include "nn/model.h"

namespace nibble::nn {

struct LoraConfig {
  int64_t r = 16;
  double alpha = 32;
  double dropout = 0;
  bool use_rslora = false;
  std::vector<Projection> targets{Projection::kQ, Projection::kK, Projection::kV, Projection::kO,
                                  Projection::kGate, Projection::kUp, Projection::kDown};

  // The factor of the update: alpha / r, or alpha / sqrt(r) with rsLoRA.
  float scale() const;
};

// Gives every targeted linear a new adapter: A uniform in +-1/sqrt(In) (Kaiming with a = sqrt 5, as PEFT), B zero, so that
// the model's output does not change. Deterministic from the seed.
void attach_lora(Model& model, const LoraConfig& config, uint64_t seed);

// Gives `linear` an adapter with these factors and zeroed gradients. SHAPES a [R, In], b [Out, R], any float dtype;
// `number` is the adapter's place in the order of Model::each_lora.
void set_lora(Linear& linear, const Tensor& a, const Tensor& b, float scale, float dropout, uint64_t number,
              at::ScalarType dtype);

// layer * 7 + projection: an adapter's number does not depend on which others exist.
uint64_t lora_number(int64_t layer, Projection p);

void zero_gradients(Model& model);

}  // namespace nibble::nn
