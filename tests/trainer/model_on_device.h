// A small model in the emulated device's memory, where the emulator sees an access out of bounds.
#pragma once

#include <string>
#include <vector>

#include "nn/model.h"
#include "optim/optimizer.h"
#include "tests/emulator/device_tensor.h"

namespace nibble::test {

inline void move_to_device(Tensor& t) {
  if (t.defined()) t = to_device(t);
}

// Every tensor of the model, its adapters' gradients included.
inline void move_to_device(nn::Model& model) {
  const bool tied = model.head.dense.is_same(model.embedding);
  move_to_device(model.embedding);
  if (tied) model.head.dense = model.embedding; else move_to_device(model.head.dense);
  move_to_device(model.final_norm);
  for (nn::Layer& layer : model.layers) {
    for (Tensor* t : {&layer.input_norm, &layer.post_attention_norm, &layer.q_norm, &layer.k_norm}) move_to_device(*t);
    for (int p = 0; p < nn::kProjections; ++p) {
      nn::Linear& linear = layer.projection(static_cast<nn::Projection>(p));
      quant::QuantizedWeight& q = linear.weight.packed;
      for (Tensor* t : {&linear.weight.dense, &linear.bias, &q.codes, &q.absmax, &q.absmax_codes, &q.nested_absmax}) move_to_device(*t);
      if (!linear.lora) continue;
      for (Tensor* t : {&linear.lora->a, &linear.lora->b, &linear.lora->da, &linear.lora->db}) move_to_device(*t);
    }
  }
}

inline std::vector<optim::ParamRef> adapter_parameters(nn::Model& model) {
  std::vector<optim::ParamRef> all;
  model.each_lora([&](const std::string& path, nn::Lora& lora) {
    const auto layer = static_cast<int64_t>(lora.number) / nn::kProjections;
    all.push_back({path + ".a", lora.a, lora.da, layer});
    all.push_back({path + ".b", lora.b, lora.db, layer});
  });
  return all;
}

}  // namespace nibble::test
