// A small model in the emulated device's memory, where the emulator sees an access out of bounds.
#pragma once

#include <string>

#include "nn/model.h"
#include "tests/emulator/device_tensor.h"

namespace nibble::test {

inline void move_to_device(Tensor& t) {
  if (t.defined()) t = to_device(t);
}

// What is frozen: not what stays on the host, nor layers that a BaseFeed brings.
inline void move_frozen_to_device(nn::Model& model) {
  const bool tied = model.head.dense.is_same(model.embedding);
  if (!model.embedding_on_host) move_to_device(model.embedding);
  if (tied) model.head.dense = model.embedding; else move_to_device(model.head.dense);
  move_to_device(model.final_norm);
  for (nn::Layer& layer : model.layers) {
    for (Tensor* t : {&layer.input_norm, &layer.post_attention_norm, &layer.q_norm, &layer.k_norm}) move_to_device(*t);
    for (int p = 0; p < nn::kProjections && !model.feed; ++p) {
      nn::Linear& linear = layer.projection(static_cast<nn::Projection>(p));
      quant::QuantizedWeight& q = linear.weight.packed;
      for (Tensor* t : {&linear.weight.dense, &linear.bias, &q.codes, &q.absmax, &q.absmax_codes, &q.nested_absmax}) move_to_device(*t);
    }
  }
}

// And the adapters with their gradients.
inline void move_to_device(nn::Model& model) {
  move_frozen_to_device(model);
  model.each_lora([](const std::string&, nn::Lora& lora) {
    for (Tensor* t : {&lora.a, &lora.b, &lora.da, &lora.db}) move_to_device(*t);
  });
}

}  // namespace nibble::test
