// The model: frozen weights, adapters, and the forward and backward pass of one micro-batch.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nn/activation_offload.h"
#include "nn/base_feed.h"
#include "nn/host_embedding.h"
#include "nn/linear.h"
#include "nn/model_config.h"
#include "nn/recompute.h"
#include "nn/rope.h"

namespace nibble::nn {

class BatchUpload;
struct DeviceBatch;
struct LabelledRows;
struct LayerContext;
class StepGraphs;

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
  std::shared_ptr<const void> files;  // mapped files that tensors below are views of; null: they own what they hold
  ModelConfig config;
  at::ScalarType dtype = at::kBFloat16;  // compute dtype
  Tensor embedding;             // [V, C]
  bool embedding_on_host = false;  // while all else is on a device
  std::vector<Layer> layers;    // L
  Tensor final_norm;            // [C]
  FrozenWeight head;            // [V, C]; dense and the same tensor as embedding when tied, unless it is in 4 bits
  std::shared_ptr<BaseFeed> feed;  // brings layers and head before they are used; null: they are where they are

  // Before a layer (0..L-1) or the head (L) is used; see nn/base_feed.h.
  void enter(int64_t part, int64_t next) const {
    if (feed) feed->enter(part, next);
  }

  // Every adapter with its linear's path, in a fixed order (layer, projection).
  void each_lora(const std::function<void(const std::string& path, Lora&)>& visit);
  void each_lora(const std::function<void(const std::string& path, const Lora&)>& visit) const;
};

// The tokens of one micro-batch: documents laid end to end, none attends to another. All of length T but the last.
struct TokenBatch {
  std::span<const int32_t> ids;
  std::span<const int32_t> labels;           // unshifted, -100: not trained on; empty where no loss is wanted
  std::span<const int32_t> positions;        // restart at 0 with every document
  std::span<const int32_t> document_starts;  // [documents + 1], the last is T
};

// A sum over tokens and their count, never a mean of means.
struct LossSum {
  double nll = 0.0;  // nats
  int64_t tokens = 0;
  LossSum& operator+=(const LossSum& other) {
    nll += other.nll;
    tokens += other.tokens;
    return *this;
  }
};

struct PassOptions {
  std::vector<RecomputePolicy> recompute;  // one a layer, or empty: keep everything
  int64_t loss_chunk_tokens = 256;         // rows of logits held at a time
  DropoutContext dropout;
  std::function<void(int64_t layer)> backward_reaches;  // called before a layer's backward: paging moves ahead of it
  // Called by forward_loss with the hidden states [T, C] on their way: of the embedding with -1, of each layer with its number, and
  // after the final norm with L. They are valid during the call; on a device they are queued, and its stream must be waited for.
  std::function<void(int64_t layer, const Tensor& hidden)> layer_output;
};

// Runs passes over a model and keeps the memory that they share between calls.
class Pass {
 public:
  // REQUIRES model outlives the pass, and its tensors are at `place`. `max_positions` bounds the positions that a batch may
  // have.
  Pass(Model& model, int64_t max_positions, const Place& place = {});
  ~Pass();

  // Adds the gradients of the summed loss to every adapter's da and db. On a device nobody waits for the loss: nll is then
  // NaN here, and collect() has it. THROWS std::invalid_argument for ids outside the vocabulary or positions outside the
  // rope table.
  LossSum forward_backward(const TokenBatch& batch, const PassOptions& options);
  // The loss alone. With the same dropout it is that of forward_backward to the bit.
  LossSum forward_loss(const TokenBatch& batch, const PassOptions& options);
  // The losses of all calls of these two since the last collect(). On a device, waits for them: the one read of a step.
  LossSum collect();
  // SHAPES -> [T, V], compute dtype. Holds all logits: for tests and short texts.
  Tensor forward_logits(const TokenBatch& batch);
  // SHAPES -> L + 2 tensors [T, C]: the embedding, each layer's output, the final norm's output.
  std::vector<Tensor> forward_hidden_states(const TokenBatch& batch);

  // Makes room for passes that keep so many bytes for backward and have so many of temporaries (nn/arena.h). Before the first
  // pass. THROWS AllocationFailed, CudaError
  void reserve(int64_t saved_bytes, int64_t scratch_bytes) {
    ws_.saved.reserve(saved_bytes);
    ws_.scratch.reserve(scratch_bytes);
  }

  // How many tokens go through a layer's MLP at a time, in all calls from now on; 0: all. See nn/layer.cpp.
  void set_mlp_chunk_tokens(int64_t tokens) { mlp_chunk_tokens_ = tokens; }

  // Has forward_backward repeat pieces of layers as graphs (nn/step_graph.h): numbers stay as they are, and passes whose numbers of
  // tokens come again keep the host less busy. No effect on the CPU, and none while the base is streamed, whose weights are
  // elsewhere in every pass. false: forgets all graphs.
  void use_graphs(bool use);
  // Null where graphs are not used.
  const StepGraphs* graphs() const { return graphs_.get(); }

  const Place& place() const { return ws_.place; }
  int64_t max_positions() const { return rope_.max_positions(); }
  int64_t saved_peak_bytes() const { return ws_.saved.peak_bytes(); }
  int64_t scratch_peak_bytes() const { return ws_.scratch.peak_bytes(); }

 private:
  int64_t head_part() const { return static_cast<int64_t>(model_.layers.size()); }  // of BaseFeed
  void enter(int64_t part, int64_t next);                 // model_.enter, and what depends on it here
  int64_t part_of(const quant::QuantizedWeight& weight) const;
  Tensor embed(const DeviceBatch& batch, const Tensor& x);  // -> x, written
  // Where the input of `layer` goes until its backward; L: the last layer's output.
  Tensor input_of(size_t layer, at::IntArrayRef sizes);
  Tensor run_layers(const DeviceBatch& batch, std::span<const int32_t> document_starts, const PassOptions& options);
  LayerContext context(const DeviceBatch& batch, std::span<const int32_t> document_starts, const DropoutContext& dropout) const;
  bool base_stays() const;  // no frozen weight moves between passes
  // The loss of the hidden states after the final norm, and its gradient where d_hidden is defined.
  LossSum loss(const Tensor& normed, const LabelledRows& labelled, const DeviceBatch& batch, const PassOptions& options,
               const Tensor& d_hidden);

  Model& model_;
  RopeTable rope_;
  Workspace ws_;
  int64_t mlp_chunk_tokens_ = 0;
  ActivationOffload offload_;
  HostEmbedding host_embedding_;
  std::unique_ptr<BatchUpload> upload_;
  Tensor device_nll_;   // [1] fp64, with a queue: the losses of all calls since the last collect()
  LossSum collected_;
  int64_t entered_ = BaseFeed::kUnknown;  // with a feed
  std::unique_ptr<StepGraphs> graphs_;
};

}  // namespace nibble::nn
