#include "trainer/step_memory.h"

#include <algorithm>

#include "core/round_up.h"
#include "nn/arena_blocks.h"
#include "nn/lora_products.h"
#include "nn/lora_products_cpu.h"

namespace nibble::trainer {
namespace {

using nn::Projection;

using nn::kArenaPage;

// Of the inputs that are offloaded, how many stay on the device: those of the two top layers, where the others pass through.
constexpr int64_t kOffloadBuffers = 2;

// Of arenas that were reserved: one block each, of whole pages.
int64_t slack_of(const StepMemory& memory) {
  return round_up(memory.saved_bytes, kArenaPage) - memory.saved_bytes + round_up(memory.scratch_bytes(), kArenaPage) - memory.scratch_bytes();
}

class Scope {
 public:
  explicit Scope(nn::BlockStack& arena) : arena_(arena), mark_(arena.mark()) {}
  Scope(const Scope&) = delete;
  ~Scope() { arena_.release(mark_); }

 private:
  nn::BlockStack& arena_;
  nn::BlockStack::Mark mark_;
};

// One pass: which tensor is taken from which arena, and when it is given back.
class StepModel {
 public:
  explicit StepModel(const StepShape& shape) : s_(shape), c_(*shape.model) {}

  // Pass::forward_loss: two hidden states in turn, and the temporaries of one layer.
  StepMemory score() {
    StepMemory memory;
    saved_.take(hidden());
    saved_.take(hidden());
    forward({scratch_, scratch_, scratch_, scratch_});
    const int64_t layers = scratch_.peak_bytes();
    loss(/*backward=*/false);
    return settled(memory, layers, scratch_.peak_bytes());
  }

  StepMemory run(const std::vector<nn::RecomputePolicy>& recompute) {
    StepMemory memory;
    std::vector<nn::BlockStack::Mark> below;
    int64_t offloaded = 0;
    saved_.take(hidden());
    for (const nn::RecomputePolicy& policy : recompute) {
      if (on_device() && policy.offloads_input()) {
        ++offloaded;
      } else {
        saved_.take(hidden());
      }
      below.push_back(saved_.mark());
      forward({policy.keeps_elementwise() ? saved_ : scratch_, policy.keeps_attention() ? saved_ : scratch_,
               policy.keeps_mlp() ? saved_ : scratch_, saved_});
      if (attends_on_device() && policy.keeps_attention()) memory.kept_outside_bytes += (s_.graphs ? 0 : attended_bytes()) + lse_bytes();
    }
    for (int64_t i = 0; i < std::min(offloaded, kOffloadBuffers); ++i) saved_.take(hidden());
    memory.offloaded_bytes = std::max<int64_t>(0, offloaded - kOffloadBuffers) * hidden();
    int64_t layers = scratch_.peak_bytes();
    scratch_.take(hidden());       // the final norm's output
    scratch_.take(4 * s_.tokens);  // and its factors
    scratch_.take(hidden());       // dy
    scratch_.start_phase();
    loss(/*backward=*/true);
    const int64_t with_loss = scratch_.phase_peak_bytes();
    scratch_.take(hidden());       // dx
    scratch_.start_phase();
    for (size_t l = recompute.size(); l-- > 0;) {
      backward(recompute[l]);
      saved_.release(below[l]);
    }
    return settled(memory, std::max(layers, scratch_.phase_peak_bytes()), with_loss);
  }

 private:
  // Where a layer's forward puts its pieces: what backward needs, or what is temporary.
  struct Kept {
    nn::BlockStack &elementwise, &attention, &mlp, &down;
  };

  // With the arenas' peaks: of the scratch's, in layers and in the loss.
  StepMemory settled(StepMemory memory, int64_t layers, int64_t with_loss) const {
    memory.saved_bytes = saved_.peak_bytes();
    memory.workspace_bytes = layers;
    memory.loss_bytes = std::max<int64_t>(0, with_loss - layers);
    memory.slack_bytes = slack_of(memory);
    return memory;
  }

  bool on_device() const { return s_.device == PlanDevice::kCuda; }
  bool attends_on_device() const { return on_device() && !s_.attention_on_host; }
  int64_t width(int64_t columns) const { return s_.tokens * columns * s_.element_bytes; }
  int64_t hidden() const { return width(c_.hidden_size); }
  int64_t attended_bytes() const { return width(c_.q_width()); }
  int64_t lse_bytes() const { return 4 * s_.tokens * c_.num_attention_heads; }
  bool adapted(Projection p) const { return s_.targets[static_cast<size_t>(p)]; }

  int64_t rows_bytes(int64_t tokens, int64_t columns) const { return tokens * columns * s_.element_bytes; }

  // An adapter's products (nn/lora_products): what their kernels take besides the operands, or nothing where LibTorch makes them.
  bool on_cpu_in_bf16() const { return !on_device() && s_.element_bytes == 2; }
  bool has_kernels(int64_t tokens, int64_t columns) const { return on_cpu_in_bf16() && nn::has_rank_kernels(tokens, columns, s_.lora_r); }
  void to_rank(int64_t tokens, int64_t columns) {
    const Scope scope(scratch_);
    if (on_cpu_in_bf16() && nn::amx_takes(tokens, columns)) return;
    if (has_kernels(tokens, columns)) scratch_.take(4 * nn::packed_factor_dwords(columns, s_.lora_r));
  }
  // Added to a product that sums over `summed`.
  void from_rank(int64_t tokens, int64_t columns, int64_t summed) {
    const Scope scope(scratch_);
    const int64_t padded = nn::padded_low_rank(s_.lora_r);
    if (on_cpu_in_bf16() && nn::amx_takes_low_rank(tokens, summed, s_.lora_r)) {
      scratch_.take(rows_bytes(columns, padded));
      scratch_.take(rows_bytes(tokens, padded));
      return;
    }
    if (on_cpu_in_bf16() && nn::amx_takes(tokens, s_.lora_r)) return;
    if (has_kernels(tokens, columns)) scratch_.take(4 * nn::packed_factor_dwords(s_.lora_r, columns));
  }
  void factor_gradient(int64_t tokens, int64_t columns) {
    const Scope scope(scratch_);
    if (on_cpu_in_bf16() && nn::amx_takes_sum(tokens)) {
      scratch_.take(rows_bytes(tokens, s_.lora_r));
    } else if (has_kernels(tokens, columns)) {
      scratch_.take(4 * nn::packed_factor_dwords(tokens, s_.lora_r));
      scratch_.take(4 * columns * nn::padded_rank(s_.lora_r));
    } else {
      scratch_.take(rows_bytes(columns, s_.lora_r));
    }
  }

  // linear_forward: the input of B stays, a masked input does not.
  void project(Projection p, nn::BlockStack& keep, int64_t tokens) {
    if (!adapted(p)) return;
    keep.take(rows_bytes(tokens, s_.lora_r));
    const Scope scope(scratch_);
    const nn::LinearShape shape = nn::projection_shape(c_, p);
    if (s_.dropout) scratch_.take(rows_bytes(tokens, shape.in));
    to_rank(tokens, shape.in);
    from_rank(tokens, shape.out, shape.in);
  }
  void project(Projection p, nn::BlockStack& keep) { project(p, keep, s_.tokens); }

  // linear_backward.
  void project_back(Projection p, int64_t tokens) {
    if (!adapted(p)) return;
    const Scope scope(scratch_);
    scratch_.take(rows_bytes(tokens, s_.lora_r));
    const nn::LinearShape shape = nn::projection_shape(c_, p);
    to_rank(tokens, shape.out);
    factor_gradient(tokens, shape.out);
    if (!s_.dropout) from_rank(tokens, shape.in, shape.out);
    if (s_.dropout) scratch_.take(rows_bytes(tokens, shape.in));  // masked: its own gradient, then the input again
    factor_gradient(tokens, shape.in);
  }
  void project_back(Projection p) { project_back(p, s_.tokens); }

  void heads(Projection p, int64_t count, bool normed, nn::BlockStack& arena) {
    arena.take(width(count * c_.head_dim));
    if (normed && c_.qk_norm) {
      arena.take(width(count * c_.head_dim));
      arena.take(4 * s_.tokens * count);
    }
    project(p, arena);
  }

  void attention(nn::BlockStack& arena) {
    heads(Projection::kQ, c_.num_attention_heads, true, arena);
    heads(Projection::kK, c_.num_key_value_heads, true, arena);
    heads(Projection::kV, c_.num_key_value_heads, false, arena);
    if (!attends_on_device() || s_.graphs) arena.take(attended_bytes());
    if (!attends_on_device()) arena.take(lse_bytes());
  }

  void mid(nn::BlockStack& arena, nn::BlockStack& norm_arena) {
    arena.take(hidden());
    project(Projection::kO, arena);
    norm_arena.take(hidden());
  }

  bool in_chunks() const { return s_.mlp_chunk_tokens > 0 && s_.tokens > s_.mlp_chunk_tokens; }

  void gate_up(nn::BlockStack& arena, int64_t tokens) {
    arena.take(rows_bytes(tokens, c_.intermediate_size));
    arena.take(rows_bytes(tokens, c_.intermediate_size));
    project(Projection::kGate, arena, tokens);
    project(Projection::kUp, arena, tokens);
  }

  // The product, and where the input of down's B is kept.
  void down_product(nn::BlockStack& keep, int64_t tokens) {
    const Scope scope(scratch_);
    scratch_.take(rows_bytes(tokens, c_.intermediate_size));
    project(Projection::kDown, keep, tokens);
  }

  // Of all chunks the first is the largest.
  void mlp_forward(const Kept& kept) {
    if (!in_chunks()) {
      gate_up(kept.mlp, s_.tokens);
      return down_product(kept.down, s_.tokens);
    }
    const bool keeps = &kept.mlp != &scratch_;
    if (keeps) {
      kept.mlp.take(width(c_.intermediate_size));
      kept.mlp.take(width(c_.intermediate_size));
    }
    for (const Projection p : {Projection::kGate, Projection::kUp, Projection::kDown}) {
      const bool is_down = p == Projection::kDown;
      if (adapted(p) && (keeps || is_down)) (is_down ? kept.down : kept.mlp).take(width(s_.lora_r));
    }
    const Scope chunk(scratch_);
    gate_up(scratch_, s_.mlp_chunk_tokens);
    down_product(scratch_, s_.mlp_chunk_tokens);
  }

  void mlp_backward(int64_t tokens, bool takes_gradient) {
    scratch_.take(rows_bytes(tokens, c_.intermediate_size));  // the product's gradient, then the product
    project_back(Projection::kDown, tokens);
    if (adapted(Projection::kDown)) scratch_.take(rows_bytes(tokens, s_.lora_r));
    if (takes_gradient) scratch_.take(hidden());
    project_back(Projection::kGate, tokens);
    project_back(Projection::kUp, tokens);
  }

  void forward(const Kept& kept) {
    const Scope scope(scratch_);
    kept.attention.take(4 * s_.tokens);
    kept.attention.take(4 * s_.tokens);
    kept.elementwise.take(hidden());
    attention(kept.attention);
    mid(kept.attention, kept.elementwise);
    mlp_forward(kept);
  }

  void backward(nn::RecomputePolicy policy) {
    const Scope scope(scratch_);
    if (!policy.keeps_elementwise()) {
      scratch_.take(hidden());
      if (!policy.keeps_attention()) scratch_.take(4 * s_.tokens);
    }
    if (!policy.keeps_attention()) {
      attention(scratch_);
      mid(scratch_, scratch_);
      scratch_.take(4 * s_.tokens);
    } else if (!policy.keeps_elementwise()) {
      scratch_.take(hidden());
    }
    if (in_chunks()) {
      scratch_.take(hidden());
      const Scope chunk(scratch_);
      if (!policy.keeps_mlp()) gate_up(scratch_, s_.mlp_chunk_tokens);
      mlp_backward(s_.mlp_chunk_tokens, /*takes_gradient=*/false);
    } else {
      if (!policy.keeps_mlp()) gate_up(scratch_, s_.tokens);
      mlp_backward(s_.tokens, /*takes_gradient=*/true);
    }
    scratch_.take(attended_bytes());
    project_back(Projection::kO);
    scratch_.take(width(c_.q_width()));
    scratch_.take(width(c_.kv_width()));
    scratch_.take(width(c_.kv_width()));
    if (c_.qk_norm) {
      scratch_.take(width(c_.q_width()));
      scratch_.take(width(c_.kv_width()));
    }
    project_back(Projection::kQ);
    project_back(Projection::kK);
    project_back(Projection::kV);
  }

  void loss(bool backward) {
    if (s_.labelled_rows == 0) return;
    const Scope scope(scratch_);
    const int64_t rows = std::min(s_.loss_chunk_tokens, s_.labelled_rows);
    if (on_device()) scratch_.take(8 * s_.labelled_rows);
    scratch_.take(rows_bytes(rows, c_.hidden_size));
    scratch_.take(rows_bytes(rows, c_.vocab_size));
    if (s_.head_panel_rows == 0) return;
    // A 4-bit head's gradients from its panels are summed in fp32 (nn/head.cpp).
    if (backward && s_.head_panel_rows < c_.vocab_size) {
      scratch_.take(4 * rows * c_.hidden_size);
      scratch_.take(rows_bytes(rows, c_.hidden_size));
    }
    scratch_.take(rows_bytes(s_.head_panel_rows, c_.hidden_size));
  }

  const StepShape& s_;
  const nn::ModelConfig& c_;
  nn::BlockStack saved_, scratch_;
};

}  // namespace

StepMemory& StepMemory::operator+=(const StepMemory& other) {
  saved_bytes += other.saved_bytes;
  workspace_bytes += other.workspace_bytes;
  loss_bytes += other.loss_bytes;
  slack_bytes += other.slack_bytes;
  kept_outside_bytes += other.kept_outside_bytes;
  offloaded_bytes += other.offloaded_bytes;
  return *this;
}

StepMemory scoring_memory(const StepShape& shape) { return StepModel(shape).score(); }

StepMemory both(const StepMemory& a, const StepMemory& b) {
  StepMemory memory = a;
  memory.saved_bytes = std::max(a.saved_bytes, b.saved_bytes);
  memory.workspace_bytes = std::max(a.workspace_bytes, b.workspace_bytes);
  memory.loss_bytes = std::max(a.scratch_bytes(), b.scratch_bytes()) - memory.workspace_bytes;
  memory.kept_outside_bytes = std::max(a.kept_outside_bytes, b.kept_outside_bytes);
  memory.offloaded_bytes = std::max(a.offloaded_bytes, b.offloaded_bytes);
  memory.slack_bytes = slack_of(memory);
  return memory;
}

StepMemory step_memory(const StepShape& shape, const std::vector<nn::RecomputePolicy>& recompute) {
  return StepModel(shape).run(recompute);
}

}  // namespace nibble::trainer
