// One decoder layer, forward and backward, written out. The base is frozen, so backward needs no weight gradients of it:
//
//   x -> norm -> q,k,v -> (q/k norm) -> rope -> attention -> o -> + x = mid -> norm -> gate,up -> swiglu -> down -> + mid
//
// T counts the tokens of a micro-batch, all documents end to end; documents never attend to each other.
#pragma once

#include <span>

#include "nn/attention_gpu.h"
#include "nn/model.h"
#include "nn/recompute.h"
#include "nn/rope.h"

namespace nibble::nn {

class StepGraphs;

// What all layers of one pass share.
struct LayerContext {
  const ModelConfig& config;
  const RopeTable& rope;
  Tensor positions;                           // [T], int32
  std::span<const int32_t> document_starts;   // [documents + 1]
  DropoutContext dropout;
  DeviceDocuments device_documents;           // on a GPU
  int64_t mlp_chunk_tokens = 0;               // tokens that go through the MLP at a time; 0: all
  StepGraphs* graphs = nullptr;               // where pieces are recorded and repeated; null: nowhere
};

// What forward keeps for backward. Tensors that the policy does not keep are undefined until backward rebuilds them.
struct LayerSaved {
  Tensor x;                      // [T, C] input
  Tensor x_rstd;                 // [T] fp32
  Tensor x_normed;               // [T, C]
  Tensor q_raw, k_raw;           // [T, Hq, D], [T, Hkv, D] before q/k norm; undefined without one
  Tensor q_rstd, k_rstd;         // [T*Hq], [T*Hkv] fp32; likewise
  Tensor q, k, v;                // [T, Hq, D], [T, Hkv, D], [T, Hkv, D]; q and k after rope
  Tensor attended;               // [T, Hq*D]
  Tensor lse;                    // [Hq, T] fp32; on a GPU as its kernel wants it
  Tensor mid;                    // [T, C]
  Tensor mid_rstd;               // [T] fp32
  Tensor mid_normed;             // [T, C]
  Tensor gate, up;               // [T, F]; their product comes back with its gradient (swiglu_backward)
  Tensor h[kProjections];        // [T, R] inputs of LoRA's B

  // All but lse, which attention alone uses.
  template <class Visit>
  void each_tensor(const Visit& visit) {
    for (Tensor* t : {&x, &x_rstd, &x_normed, &q_raw, &k_raw, &q_rstd, &k_rstd, &q, &k, &v, &attended, &mid, &mid_rstd, &mid_normed,
                      &gate, &up}) {
      visit(*t);
    }
    for (Tensor& t : h) visit(t);
  }
};

// Keys and values of the tokens that a layer has seen, for generation.
struct KvCache {
  Tensor k, v;         // [capacity, Hkv, D]
  int64_t length = 0;  // tokens in it
};

// Runs the layer on x and writes its output to y. SHAPES x, y [T, C], distinct. With `saved`, keeps in ws.saved what the
// policy says; x itself must stay alive as long as *saved. With `cache`, the tokens continue the one document that it
// holds, and are added to it. REQUIRES an empty cache or T = 1; room in the cache.
void layer_forward(const Layer& layer, const LayerContext& context, const Tensor& x, const Tensor& y,
                   RecomputePolicy policy, LayerSaved* saved, Workspace& ws, KvCache* cache = nullptr);

// Turns dy, the gradient of the layer's output, into the gradient of its input, in place, and adds the adapters'
// gradients. Destroys *saved. SHAPES dy [T, C]. With `first_layer`, dy is left unfinished: nothing below needs it.
void layer_backward(Layer& layer, const LayerContext& context, LayerSaved& saved, RecomputePolicy policy,
                    const Tensor& dy, bool first_layer, Workspace& ws);

// Bytes that layer_forward keeps per token at this level, the layer's input included.
int64_t saved_bytes_per_token(const ModelConfig& config, RecomputePolicy policy, int64_t element_bytes, int64_t lora_rank);

}  // namespace nibble::nn
