#include "trainer/memory_plan.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <numeric>

#include "nn/layer.h"
#include "optim/state_layout.h"

namespace nibble::trainer {
namespace {

// Resident memory of the program, LibTorch and its thread pool before a model is loaded, oneDNN's compiled kernels
// included (measured: `nibble train` on a model of a few kilobytes).
constexpr int64_t kLibraryBytes = int64_t{190} << 20;

int64_t packed_bytes(int64_t elements, const quant::QuantConfig& config) {
  const int64_t blocks = (elements + config.blocksize - 1) / config.blocksize;
  const int64_t nested = (blocks + quant::kNestedBlocksize - 1) / quant::kNestedBlocksize;
  return (elements + 1) / 2 + (config.double_quant ? blocks + 4 * nested : 4 * blocks);
}

// Temporaries of one layer's backward pass at their largest, recomputed tensors included.
int64_t layer_scratch_bytes(const PlanInput& in, int64_t tokens) {
  const nn::ModelConfig& c = in.model;
  int64_t elements = c.intermediate_size + c.hidden_size + 2 * c.q_width() + 2 * c.kv_width();
  const int64_t keeps_all = nn::saved_bytes_per_token(c, {}, in.element_bytes, in.lora_r);
  const int64_t rebuilt = keeps_all - nn::saved_bytes_per_token(c, in.recompute, in.element_bytes, in.lora_r);
  return tokens * (elements * in.element_bytes + rebuilt);
}

}  // namespace

int64_t MemoryPlan::total_bytes() const {
  return std::accumulate(components.begin(), components.end(), int64_t{0},
                         [](int64_t sum, const PlanComponent& c) { return sum + c.bytes; });
}

MemoryPlan plan_memory(const PlanInput& in) {
  const nn::ModelConfig& c = in.model;
  const int64_t layers = c.num_hidden_layers, tokens = in.pass_tokens, e = in.element_bytes;
  int64_t base = 0, largest = 0, adapter = 0;
  std::vector<optim::LayoutParam> trained;
  for (int p = 0; p < nn::kProjections; ++p) {
    const auto projection = static_cast<nn::Projection>(p);
    const nn::LinearShape shape = nn::projection_shape(c, projection);
    const int64_t elements = shape.out * shape.in;
    base += in.load_in_4bit ? packed_bytes(elements, in.quant) : elements * e;
    if (shape.bias) base += shape.out * e;
    largest = std::max(largest, elements);
    if (std::count(in.lora_targets.begin(), in.lora_targets.end(), projection) == 0) continue;
    adapter += in.lora_r * (shape.out + shape.in);
    for (int64_t l = 0; l < layers; ++l) {
      trained.push_back({in.lora_r * shape.in, l});
      trained.push_back({in.lora_r * shape.out, l});
    }
  }
  adapter *= layers;
  const int64_t embedding = c.vocab_size * c.hidden_size * e;
  const int64_t chunk = std::min(in.loss_chunk_tokens, tokens);
  MemoryPlan plan;
  const auto add = [&](const char* name, int64_t bytes) { plan.components.push_back({name, "cpu", bytes}); };
  add("base weights", base * layers);
  add("embedding", embedding);
  if (!c.tie_word_embeddings) add("output head", embedding);
  add("norms", (2 * layers + 1) * c.hidden_size * e + (c.qk_norm ? 2 * layers * c.head_dim * e : 0));
  add("adapters", adapter * e);
  add("adapter gradients", adapter * 4);
  const int64_t state = optim::state_layout(in.optimizer, trained).bytes;
  const bool paged = optim::optimizer_kind(in.optimizer.optim).paged && in.paged_budget_bytes > 0;
  add("optimizer state", paged ? std::min(state, in.paged_budget_bytes) : state);
  add("saved activations", tokens * (layers * nn::saved_bytes_per_token(c, in.recompute, e, in.lora_r) + c.hidden_size * e));
  add("layer workspace", layer_scratch_bytes(in, tokens) + 3 * tokens * c.hidden_size * e);
  add("decoded weight", in.load_in_4bit ? largest * e : 0);
  add("logits chunk", chunk * (c.vocab_size + c.hidden_size) * e);
  add("libraries", kLibraryBytes);
  return plan;
}

nn::RecomputePolicy choose_recompute(PlanInput input, int64_t budget_bytes) {
  for (Recompute level : {Recompute::kNone, Recompute::kElementwise, Recompute::kMlp}) {
    input.recompute = {level};
    if (plan_memory(input).total_bytes() <= budget_bytes) return input.recompute;
  }
  return {Recompute::kLayer};
}

int64_t memory_limit_bytes() {
  int64_t limit = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGE_SIZE);
  // Control groups version 2 and 1; "max" and absurdly large numbers mean no limit.
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream file(path);
    int64_t bytes = 0;
    if (file >> bytes && bytes > 0) limit = std::min(limit, bytes);
  }
  return limit;
}

}  // namespace nibble::trainer
