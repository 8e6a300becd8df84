// y = x W^T + bias + scale * dropout(x) A^T B^T: a frozen weight and its LoRA update (Hu et al., arXiv 2106.09685).
#pragma once

#include <optional>
#include <string>

#include "core/rng.h"
#include "nn/arena.h"
#include "nn/weight_panels.h"
#include "quant/layout.h"
#include "tensor/torch.h"

namespace nibble::nn {

// The frozen part: either 4-bit or dense in the compute dtype. Exactly one of the two is defined.
struct FrozenWeight {
  Tensor dense;                   // [Out, In]
  quant::QuantizedWeight packed;

  bool quantized() const { return packed.defined(); }
  int64_t out() const { return quantized() ? packed.out : dense.size(0); }
  at::Device device() const { return quantized() ? packed.codes.device() : dense.device(); }
  int64_t in() const { return quantized() ? packed.in : dense.size(1); }
};

// The trained part. Gradients are fp32 sums over the tokens and micro-batches of one optimizer step.
struct Lora {
  Tensor a;              // [R, In], compute dtype
  Tensor b;              // [Out, R], compute dtype
  Tensor da;             // [R, In], fp32
  Tensor db;             // [Out, R], fp32
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

// What a pass over the model needs besides the weights. One object lives for a whole run.
struct Workspace {
  explicit Workspace(const Place& where = {}) : place(where), saved(where), scratch(where), panels(where) {}

  Place place;
  Arena saved;           // what forward keeps for backward, in stack order of the layers
  Arena scratch;         // temporaries of one layer
  WeightPanels panels;   // decoded weights
};

// Dropout of one micro-batch: off in evaluation. `micro_step` counts micro-batches from the start of training.
struct DropoutContext {
  bool training = false;
  uint64_t seed = 0;
  uint64_t micro_step = 0;
  // On a device: where the pass's micro_step is, the one above being what is added to it. Launches that were recorded then draw
  // the masks of the pass that they are repeated in.
  const uint64_t* device_step = nullptr;
};

// The weight in the compute dtype: the dense one itself, or the packed one decoded into one of ws.panels, valid until
// the next call. SHAPES -> [Out, In].
Tensor decoded_weight(const FrozenWeight& weight, at::ScalarType dtype, Workspace& ws);

// SHAPES x [T, In], y [T, Out] (written), -> h [T, R]: the input of B, for linear_backward; undefined without an adapter.
// `keep` is where h lives.
Tensor linear_forward(const Linear& linear, const Tensor& x, const Tensor& y, const DropoutContext& dropout, Workspace& ws,
                      Arena& keep);

enum class Into : uint8_t { kWrite, kAdd };

// The part of backward that does not need x: adds to lora->db and writes dx, or adds to it. SHAPES h [T, R] as
// linear_forward gave it, dy [T, Out], dx [T, In] or undefined (not needed) -> dh [T, R] in ws.scratch, undefined without
// an adapter.
Tensor linear_backward_input(Linear& linear, const Tensor& h, const Tensor& dy, const Tensor& dx, Into into,
                             const DropoutContext& dropout, Workspace& ws);
// The part that does: adds to lora->da. SHAPES x [T, In] as in linear_forward, dh [T, R].
void linear_backward_a(Linear& linear, const Tensor& x, const Tensor& dh, const DropoutContext& dropout, Workspace& ws);
// Both.
void linear_backward(Linear& linear, const Tensor& x, const Tensor& h, const Tensor& dy, const Tensor& dx, Into into,
                     const DropoutContext& dropout, Workspace& ws);

}  // namespace nibble::nn
