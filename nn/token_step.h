// One to eight tokens of a text through all layers on the CPU, after those that the caches of keys and values hold.
//
// The same layer as nn/layer.h, for text generation: with so few tokens a step is reading the weights once, and everything
// around that, tensors and the operators' own bookkeeping, would take as long again. So it is written over plain pointers,
// linears are read as they are stored (nn/gemv.h), and nothing is allocated after construction. Values round to the compute
// dtype where the layer's do, but that an adapter's share is added before the linear's output is rounded.
#pragma once

#include <memory>
#include <span>

#include "nn/gemv.h"
#include "nn/layer.h"
#include "nn/model.h"

namespace nibble::nn {

class TokenStep {
 public:
  static constexpr int64_t kMaxTokens = kGemvTokens;

  // `capacity`: of the caches. REQUIRES a model on the CPU in bf16 or fp32; model and rope outlive this.
  TokenStep(const Model& model, const RopeTable& rope, int64_t capacity, GemvIsa isa = best_gemv_isa());
  ~TokenStep();

  // Appends the tokens' keys and values to the caches, and writes the logits of the tokens that follow each of the last `wanted`.
  // SHAPES caches [L], logits [wanted, V] fp32, not rounded. REQUIRES 1 to kMaxTokens ids of the vocabulary, at least `wanted`; room
  // in the caches.
  void run(std::span<const int32_t> ids, std::span<KvCache> caches, float* logits, int64_t wanted = 1);

  // The head's logits of one hidden state after the final norm. SHAPES normed [1, C], logits [V] fp32.
  void head(const Tensor& normed, float* logits);

 private:
  class Impl;
  template <class Element>
  class Step;
  std::unique_ptr<Impl> impl_;
};

}  // namespace nibble::nn
