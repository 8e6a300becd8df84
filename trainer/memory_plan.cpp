#include "trainer/memory_plan.h"

#include <algorithm>
#include <numeric>

#include "core/memory_limit.h"
#include "core/round_up.h"
#include "nn/amx_product.h"
#include "nn/arena_blocks.h"
#include "nn/attention.h"
#include "nn/attention_avx512.h"
#include "nn/attention_avx512_cpu.h"
#include "nn/head.h"
#include "nn/token_step.h"
#include "optim/state_layout.h"
#include "tensor/torch.h"
#include "trainer/token_batch.h"

namespace nibble::trainer {
namespace {

constexpr int64_t kMib = int64_t{1} << 20;

// A process that has read its configuration: the program, LibTorch's pages and its tables of operators (measured:
// `nibble config show`).
constexpr int64_t kProcessBytes = 117 * kMib;
// What computing adds to that: LibTorch's pages with the operators that run, the program's, oneDNN's kernels for the products'
// shapes, thread stacks; and for each layer what malloc cannot use between its tensors (docs/memory.md; bench/plan_accuracy.py
// --smaps).
constexpr int64_t kComputeBytes = 26 * kMib;
// The same where LibTorch makes no product in bf16 (measured as above on AMX).
constexpr int64_t kTileComputeBytes = 22 * kMib;
// Of each pass beside the first: LibTorch's copies of weights, which each core makes for itself, and what malloc cannot use between
// them, in copies of the largest weight (measured: ci_batch_2x512, batch_2x512 and 1b_parallel there; from run to run a 1.1B model
// has 4 to 15 of them, of which the plan takes the most).
constexpr int64_t kParallelPassCopies = 15;
constexpr int64_t kComputeLayerBytes = 460 << 10;
// With LibTorch's CUDA library opened beside (measured by DESIGN.md, section 2).
constexpr int64_t kCudaProcessBytes = 340 * kMib;
// Of a weight that was read and dropped, the pages at its edges that reading its neighbours brings back: half of the kernel's
// fault-around window of 64 KiB.
constexpr int64_t kEdgeBytes = 24 << 10;

// A streamed base: the layer that computes and the one that arrives.
constexpr int64_t kStreamedLayers = 2;

int64_t arena_bytes(int64_t bytes) {
  nn::BlockStack arena;
  arena.take(bytes);
  return arena.reserved_bytes();
}

// Attention's temporaries of one layer, outside of the arenas, in a pass of so many tokens whose longest document has `longest`.
struct AttentionBytes {
  int64_t forward = 0, backward = 0;
  int64_t most() const { return std::max(forward, backward); }
};

AttentionBytes attention_on_device(const PlanInput& in, int64_t tokens) {
  const nn::ModelConfig& c = in.model;
  const int64_t q = tokens * c.q_width(), kv = tokens * c.kv_width(), lse = 4 * tokens * c.num_attention_heads;
  // FlashAttention-2 backward: an fp32 sum of dq, a factor a row, dq, dk and dv before they are copied, and dk and dv of every
  // query head where heads are grouped. Forward's output counts as well where it is rebuilt.
  const int64_t grouped = c.num_attention_heads == c.num_key_value_heads ? 0 : 2 * q;
  return {in.element_bytes * q + lse, 4 * q + lse + in.element_bytes * (2 * q + 2 * kv + grouped)};
}

AttentionBytes attention_on_cpu(const PlanInput& in, int64_t tokens, int64_t longest) {
  const nn::ModelConfig& c = in.model;
  const int64_t threads = in.choices.parallel_passes > 1 ? 1 : in.cores, groups = c.num_key_value_heads * std::max<int64_t>(1, tokens / std::max<int64_t>(1, longest));
  const nn::AttentionShape shape{c.num_attention_heads, c.num_key_value_heads, c.head_dim, 1.0f, 0};
  if (in.element_bytes == 2 && nn::attention_avx512_fits(shape)) {
    const int64_t forward = 2 * 4 * nn::packed_dwords(tokens, c.head_dim) * c.num_key_value_heads + threads * nn::forward_scratch_bytes(c.head_dim);
    const bool by_key_head = c.num_attention_heads == c.num_key_value_heads || groups >= 4 * in.cores;
    const int64_t sums = by_key_head ? threads * longest * c.head_dim * 8 : 2 * 4 * tokens * c.q_width();
    return {forward, threads * nn::backward_scratch_bytes(longest, c.head_dim) + sums};
  }
  // Composed in fp32: a key head's key and value, in backward their gradients, and five matrices of 128 queries, for every thread.
  constexpr int64_t kQueries = 128, kMatrices = 5;
  return {threads * 4 * longest * (2 * c.head_dim + kMatrices * kQueries), threads * 4 * longest * (4 * c.head_dim + kMatrices * kQueries)};
}

AttentionBytes attention_bytes(const PlanInput& in, int64_t tokens, int64_t longest) {
  if (tokens == 0) return {};
  return in.device == PlanDevice::kCuda ? attention_on_device(in, tokens) : attention_on_cpu(in, tokens, longest > 0 ? longest : tokens);
}

// At their largest, in training or in evaluation.
int64_t attention_workspace(const PlanInput& in) {
  return std::max(attention_bytes(in, in.pass_tokens, in.longest_tokens).most(), attention_bytes(in, in.eval_tokens, in.eval_longest_tokens).forward);
}

// A device takes a batch at once, a CPU in parts of whole documents.
int64_t pass_of_batch(const PlanInput& in, int64_t rows, int64_t row_tokens, int64_t longest, int64_t at_a_time) {
  if (in.device == PlanDevice::kCpu) return largest_pass(rows * row_tokens, longest, kCpuPassTokens, kCpuPassMultiple, at_a_time);
  return round_up(rows * row_tokens, in.cuda_graphs ? kGraphPassMultiple : 1);
}

int64_t largest_linear(const PlanInput& in) {
  int64_t largest = 0;
  for (int p = 0; p < nn::kProjections; ++p) {
    const nn::LinearShape shape = nn::projection_shape(in.model, static_cast<nn::Projection>(p));
    largest = std::max(largest, shape.out * shape.in);
  }
  return largest;
}

StepShape step_shape(const PlanInput& in) {
  StepShape shape;
  shape.model = &in.model;
  shape.device = in.device;
  shape.tokens = in.pass_tokens;
  shape.labelled_rows = in.labelled_rows < 0 ? in.pass_tokens : in.labelled_rows;
  shape.loss_chunk_tokens = in.choices.loss_chunk_tokens;
  shape.element_bytes = in.element_bytes;
  shape.lora_r = in.lora_r;
  for (nn::Projection p : in.lora_targets) shape.targets[static_cast<size_t>(p)] = true;
  shape.dropout = in.lora_dropout;
  shape.mlp_chunk_tokens = in.mlp_chunk_tokens;
  shape.attention_on_host = in.attention_on_host;
  shape.graphs = in.cuda_graphs && in.device == PlanDevice::kCuda;
  if (in.head_in_4bit) {
    quant::QuantizedWeight head;
    head.config = in.quant;
    head.out = in.model.vocab_size;
    head.in = in.model.hidden_size;
    shape.head_panel_rows = nn::head_panel_rows(head);
  }
  return shape;
}

// Of all passes at a time. Evaluation has one, so where it takes more, only the first has that much.
StepMemory all_steps(const PlanInput& in) {
  StepMemory sum = planned_step(in);
  if (in.choices.parallel_passes == 1) return sum;
  const StepMemory another = step_memory(step_shape(in), in.choices.recompute);
  for (int64_t p = 1; p < in.choices.parallel_passes; ++p) sum += another;
  return sum;
}

struct BaseBytes {
  PackedBytes weights;      // of a layer's linears; dense ones are all codes
  int64_t biases = 0;       // of a layer
};

BaseBytes layer_base(const PlanInput& in) {
  BaseBytes sum;
  for (int p = 0; p < nn::kProjections; ++p) {
    const nn::LinearShape shape = nn::projection_shape(in.model, static_cast<nn::Projection>(p));
    const int64_t elements = shape.out * shape.in;
    const PackedBytes packed = in.load_in_4bit ? packed_bytes(elements, in.quant) : PackedBytes{elements * in.element_bytes, 0};
    sum.weights.codes += packed.codes;
    sum.weights.scales += packed.scales;
    if (shape.bias) sum.biases += shape.out * in.element_bytes;
  }
  return sum;
}

// Adds components to a plan: those with no bytes are left out, but for the ones that every plan has.
class Planner {
 public:
  explicit Planner(const PlanInput& in) : in_(in), c_(in.model) { plan_.device = name(in.device); }

  MemoryPlan run() {
    frozen();
    trained();
    step();
    libraries();
    return std::move(plan_);
  }

 private:
  static const char* name(PlanDevice device) { return device == PlanDevice::kCuda ? "cuda" : "cpu"; }
  bool on_device() const { return in_.device == PlanDevice::kCuda; }

  void add(const char* what, MemoryPart part, int64_t bytes) { plan_.components.push_back({what, part, plan_.device, bytes}); }
  void add_on_host(const char* what, MemoryPart part, int64_t bytes) {
    if (on_device() && bytes > 0) plan_.components.push_back({what, part, "cpu", bytes});
  }

  void frozen() {
    const BaseBytes layer = layer_base(in_);
    const int64_t layers = c_.num_hidden_layers, e = in_.element_bytes;
    const int64_t resident = in_.choices.streamed ? std::min(kStreamedLayers, layers) : layers;
    add("base weights", MemoryPart::kBase, layer.weights.codes * resident);
    if (layer.weights.scales > 0) add("base scales", MemoryPart::kBase, layer.weights.scales * resident);
    if (in_.choices.streamed) add_on_host("base weights", MemoryPart::kBase, layer.weights.total() * layers);
    add("norms", MemoryPart::kBase,
        ((2 * layers + 1) * c_.hidden_size + (c_.qk_norm ? 2 * layers * c_.head_dim : 0)) * e + layers * layer.biases);
    const int64_t table = c_.vocab_size * c_.hidden_size * e;
    // A dense head that is the embedding needs the table where products are made.
    const bool shared = c_.tie_word_embeddings && !in_.head_in_4bit;
    // On a CPU a table in bf16 is the file's own; of it, what was looked up is resident.
    const bool mapped = !on_device() && in_.element_bytes == 2;
    if (!shared && mapped) {
      add("embedding", MemoryPart::kEmbedding, looked_up_bytes(table));
    } else if (!shared && on_device() && in_.choices.offload_embedding) {
      add("embedding", MemoryPart::kEmbedding, 0);
      add_on_host("embedding", MemoryPart::kEmbedding, table);
    } else {
      add("embedding", MemoryPart::kEmbedding, table);
    }
    if (in_.head_in_4bit) {
      add("output head", MemoryPart::kHead, packed_bytes(c_.vocab_size * c_.hidden_size, in_.quant).total());
    } else if (!shared) {
      add("output head", MemoryPart::kHead, table);
    }
  }

  // Of a table in its file, the pages that are touched: they stay, but where a streamed base lets them go after each pass.
  int64_t looked_up_bytes(int64_t table) const {
    const int64_t all = in_.looked_up_bytes < 0 ? table : std::min(table, in_.looked_up_bytes);
    if (!in_.choices.streamed) return all;
    return std::min(all, std::max(in_.pass_tokens, in_.eval_tokens) * std::max(kFaultAroundBytes, c_.hidden_size * in_.element_bytes));
  }

  void trained() {
    const int64_t parameters = adapter_parameters(in_), state = optimizer_state_bytes(in_);
    add("adapters", MemoryPart::kAdapters, parameters * in_.element_bytes);
    if (in_.purpose == PlanFor::kForward) return;
    add("adapter gradients", MemoryPart::kGradients, in_.choices.parallel_passes * parameters * 4);
    const bool paged = optim::optimizer_kind(in_.optimizer.optim).paged;
    const int64_t budget = in_.choices.paged_budget_bytes;
    add("optimizer state", MemoryPart::kOptimizer, paged && budget > 0 ? std::min(state, budget) : state);
    if (paged && budget > 0 && budget < state) add_on_host("optimizer state", MemoryPart::kOptimizer, state);
    if (!in_.choices.background_save) return;
    const int64_t copy = checkpoint_copy_bytes(in_);
    if (!on_device()) add("copy of a checkpoint", MemoryPart::kCheckpoint, copy);
    add_on_host("copy of a checkpoint", MemoryPart::kCheckpoint, copy);
  }

  void step() {
    const StepMemory step = all_steps(in_);
    if (in_.cache_tokens > 0) {
      add("key and value cache", MemoryPart::kCache, 2 * c_.num_hidden_layers * in_.cache_tokens * c_.kv_width() * in_.element_bytes);
      if (!on_device()) add("logits of guesses", MemoryPart::kLogits, nn::TokenStep::kMaxTokens * c_.vocab_size * static_cast<int64_t>(sizeof(float)));
    }
    add("saved activations", MemoryPart::kSavedActivations, step.saved_bytes + step.kept_outside_bytes);
    add_on_host("saved activations", MemoryPart::kSavedActivations, step.offloaded_bytes);
    add("layer workspace", MemoryPart::kWorkspace, step.workspace_bytes);
    add("logits chunk", MemoryPart::kLogits, step.loss_bytes);
    const int64_t passes = in_.choices.parallel_passes;
    add("attention workspace", MemoryPart::kWorkspace, passes * attention_workspace(in_));
    add("dequantization panels", MemoryPart::kPanels, panels());
    add("allocator slack", MemoryPart::kWorkspace, step.slack_bytes + (on_device() ? kTorchSlackBytes : 0));
  }

  // Whether bf16 products are nibble's own (nn/amx_product): LibTorch then keeps no copies of weights, and none is decoded as a whole.
  bool on_tiles() const { return !on_device() && in_.element_bytes == 2 && nn::amx_takes_sum(c_.hidden_size); }

  int64_t panels() const {
    const int64_t panel = largest_linear(in_) * in_.element_bytes, passes = in_.choices.parallel_passes;
    if (!on_tiles()) return !in_.load_in_4bit ? 0 : on_device() ? 2 * arena_bytes(panel) : passes * panel;
    const int64_t tokens = std::max(in_.pass_tokens, in_.eval_tokens);
    int64_t most = 0, left = 0;
    const auto product = [&](int64_t rows, int64_t summed, int64_t columns) {
      most = std::max(most, nn::amx_thread_bytes(rows, summed, columns));
      left = std::max(left, nn::amx_left_bytes(rows, summed, columns));
    };
    const int64_t chunk = std::min(tokens, in_.choices.loss_chunk_tokens);
    product(chunk, c_.vocab_size, c_.hidden_size);
    product(chunk, c_.hidden_size, c_.vocab_size);
    for (int p = 0; p < nn::kProjections; ++p) {
      const nn::LinearShape shape = nn::projection_shape(c_, static_cast<nn::Projection>(p));
      product(tokens, shape.in, shape.out);
      product(tokens, shape.out, shape.in);
    }
    return std::max<int64_t>(passes, in_.cores) * most + passes * left;
  }

  void libraries() {
    const int64_t process = in_.process_bytes > 0 ? in_.process_bytes : kProcessBytes;
    if (on_device()) {
      add("library workspace", MemoryPart::kLibraries, kCublasBytes);
      add("CUDA context", MemoryPart::kLibraries, kCudaContextBytes);
      add_on_host("libraries", MemoryPart::kLibraries, std::max(process, kCudaProcessBytes));
      return;
    }
    // Nine tensors a layer at least; biases and norms of heads are small beside them.
    add("model file pages", MemoryPart::kLibraries, 9 * c_.num_hidden_layers * kEdgeBytes);
    add("library workspace", MemoryPart::kLibraries, (on_tiles() ? kTileComputeBytes : kComputeBytes) + kComputeLayerBytes * c_.num_hidden_layers +
        (on_tiles() ? 0 : kParallelPassCopies) * largest_weight_bytes(in_) * (in_.choices.parallel_passes - 1));
    add("libraries", MemoryPart::kLibraries, process);
  }

  const PlanInput& in_;
  const nn::ModelConfig& c_;
  MemoryPlan plan_;
};

}  // namespace

int64_t MemoryPlan::total_bytes(const std::string& on) const {
  return std::accumulate(components.begin(), components.end(), int64_t{0},
                         [&](int64_t sum, const PlanComponent& c) { return c.device == on ? sum + c.bytes : sum; });
}

int64_t MemoryPlan::bytes_of(MemoryPart part) const {
  return std::accumulate(components.begin(), components.end(), int64_t{0}, [&](int64_t sum, const PlanComponent& c) {
    return c.part == part && c.device == device ? sum + c.bytes : sum;
  });
}

PackedBytes packed_bytes(int64_t elements, const quant::QuantConfig& config) {
  const int64_t blocks = (elements + config.blocksize - 1) / config.blocksize;
  const int64_t nested = (blocks + quant::kNestedBlocksize - 1) / quant::kNestedBlocksize;
  return {(elements + 1) / 2, config.double_quant ? blocks + 4 * nested : 4 * blocks};
}

int64_t layer_base_bytes(const PlanInput& input) {
  const BaseBytes layer = layer_base(input);
  return layer.weights.total() + layer.biases;
}

int64_t largest_weight_bytes(const PlanInput& input) { return largest_linear(input) * input.element_bytes; }

int64_t adapter_parameters(const PlanInput& input) {
  int64_t sum = 0;
  for (nn::Projection p : input.lora_targets) {
    const nn::LinearShape shape = nn::projection_shape(input.model, p);
    sum += input.lora_r * (shape.out + shape.in);
  }
  return sum * input.model.num_hidden_layers;
}

int64_t optimizer_state_bytes(const PlanInput& input) {
  if (input.lora_targets.empty() || input.model.num_hidden_layers == 0) return 0;
  std::vector<optim::LayoutParam> trained;  // of one layer: all are alike
  for (nn::Projection p : input.lora_targets) {
    const nn::LinearShape shape = nn::projection_shape(input.model, p);
    trained.push_back({input.lora_r * shape.in, 0});
    trained.push_back({input.lora_r * shape.out, 0});
  }
  const int64_t layer = optim::state_layout(input.optimizer, trained).bytes;
  // A paged arena begins each layer on a page.
  constexpr int64_t kPage = int64_t{2} << 20, kLine = 64;
  const int64_t alignment = optim::optimizer_kind(input.optimizer.optim).paged ? kPage : kLine;
  return round_up(layer, alignment) * (input.model.num_hidden_layers - 1) + layer;
}

int64_t checkpoint_copy_bytes(const PlanInput& input) { return adapter_parameters(input) * input.element_bytes + optimizer_state_bytes(input); }

MemoryPlan plan_memory(const PlanInput& input) { return Planner(input).run(); }

void set_batch(PlanInput& input, int64_t rows, int64_t row_tokens, int64_t longest) {
  input.rows = rows;
  input.row_tokens = row_tokens;
  input.longest_tokens = longest;
  // A micro-batch is shared out, or each core has one of its own. Tokens that go through the MLP in chunks are summed in another order
  // than those that do not: such passes come alone.
  const bool shared_out = rows >= input.cores && rows * row_tokens >= input.cores * kLeastPassTokens;
  const bool enough = (shared_out || input.accumulation_steps >= input.cores) && input.mlp_chunk_tokens == 0;
  input.step_passes = input.device == PlanDevice::kCpu && enough ? std::max<int64_t>(1, input.cores) : 1;
  input.pass_tokens = pass_of_batch(input, rows, row_tokens, longest, input.step_passes);
}

void set_eval_batch(PlanInput& input, int64_t rows, int64_t row_tokens, int64_t longest) {
  input.eval_rows = rows;
  input.eval_row_tokens = row_tokens;
  input.eval_longest_tokens = longest;
  input.eval_tokens = pass_of_batch(input, rows, row_tokens, longest, /*at_a_time=*/1);
}

int64_t memory_limit_bytes() { return memory_limit().bytes; }

StepMemory planned_step(const PlanInput& input) {
  StepShape scoring = step_shape(input);
  scoring.tokens = scoring.labelled_rows = input.eval_tokens;
  scoring.dropout = scoring.graphs = false;
  if (input.purpose == PlanFor::kForward) return scoring_memory(scoring);
  const StepMemory training = step_memory(step_shape(input), input.choices.recompute);
  return input.eval_tokens == 0 ? training : both(training, scoring_memory(scoring));
}

int64_t step_bytes(const PlanInput& input) {
  const StepMemory step = all_steps(input);
  return step.held_bytes() + step.kept_outside_bytes;
}

}  // namespace nibble::trainer
