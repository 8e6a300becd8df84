#include "nn/layer.h"

#include <algorithm>
#include <array>
#include <optional>

#include "nn/elementwise.h"
#include "nn/layer_attention.h"
#include "nn/layer_pieces.h"
#include "nn/rms_norm.h"
#include "nn/swiglu.h"
#include "nn/torch_ops.h"

namespace nibble::nn {
namespace {

// One pass over a layer: the pieces that forward runs and that backward repeats where they were not kept.
class LayerPass {
 public:
  LayerPass(const Layer& layer, const LayerContext& context, Workspace& ws)
      : layer_(layer), context_(context), config_(context.config), ws_(ws) {}

  void input_norm(LayerSaved& s, Arena& arena) {
    s.x_normed = arena.take(s.x.sizes(), s.x.scalar_type());
    if (!s.x_rstd.defined()) s.x_rstd = arena.take({s.x.size(0)}, at::kFloat);
    rms_norm(s.x, layer_.input_norm, config_.rms_norm_eps, s.x_normed, s.x_rstd, ws_.place.queue);
  }

  // What attention reads.
  void heads(LayerSaved& s, Arena& arena) {
    project_heads(s, layer_.q, Projection::kQ, layer_.q_norm, s.q_raw, s.q_rstd, s.q, config_.num_attention_heads, arena);
    project_heads(s, layer_.k, Projection::kK, layer_.k_norm, s.k_raw, s.k_rstd, s.k, config_.num_key_value_heads, arena);
    s.v = take_heads(s, config_.num_key_value_heads, arena);
    project(s, layer_.v, Projection::kV, s.x_normed, s.v.view({tokens(s), config_.kv_width()}), arena);
    rope_in_place(s.q, context_.positions, context_.rope, /*inverse=*/false, ws_.place.queue);
    rope_in_place(s.k, context_.positions, context_.rope, /*inverse=*/false, ws_.place.queue);
  }

  // mid = x + o(attended) and its norm, in one pass over memory.
  void mid(LayerSaved& s, Arena& arena, Arena& norm_arena) {
    s.mid = arena.take(s.x.sizes(), s.x.scalar_type());
    project(s, layer_.o, Projection::kO, s.attended, s.mid, arena);
    take_mid_norm(s, norm_arena);
    add_rms_norm(s.mid, s.x, layer_.post_attention_norm, config_.rms_norm_eps, s.mid_normed, s.mid_rstd, ws_.place.queue);
  }

  // The norm of a mid that was kept.
  void mid_norm(LayerSaved& s, Arena& arena) {
    take_mid_norm(s, arena);
    rms_norm(s.mid, layer_.post_attention_norm, config_.rms_norm_eps, s.mid_normed, s.mid_rstd, ws_.place.queue);
  }

  void take_gate_up(LayerSaved& s, Arena& arena) {
    const std::array<int64_t, 2> sizes{tokens(s), config_.intermediate_size};
    s.gate = arena.take(sizes, s.x.scalar_type());
    s.up = arena.take(sizes, s.x.scalar_type());
  }

  void gate_up(LayerSaved& s, Arena& arena) {
    if (!s.gate.defined()) take_gate_up(s, arena);
    project(s, layer_.gate, Projection::kGate, s.mid_normed, s.gate, arena);
    project(s, layer_.up, Projection::kUp, s.mid_normed, s.up, arena);
  }

  void down(LayerSaved& s, const Tensor& y, Arena& arena) {
    ArenaScope scope(ws_.scratch);
    const Tensor act = ws_.scratch.take(s.gate.sizes(), s.x.scalar_type());
    swiglu(s.gate, s.up, act, ws_.place.queue);
    project(s, layer_.down, Projection::kDown, act, y, arena);
    add_scaled(y, s.mid, 1.0f, ws_.place.queue);
  }

  int64_t tokens(const LayerSaved& s) const { return s.x.size(0); }

  Tensor take_heads(const LayerSaved& s, int64_t heads, Arena& arena) {
    return arena.take({tokens(s), heads, config_.head_dim}, s.x.scalar_type());
  }

 private:
  void take_mid_norm(LayerSaved& s, Arena& arena) {
    s.mid_normed = arena.take(s.x.sizes(), s.x.scalar_type());
    if (!s.mid_rstd.defined()) s.mid_rstd = arena.take({tokens(s)}, at::kFloat);
  }

  void project(LayerSaved& s, const Linear& linear, Projection p, const Tensor& x, const Tensor& y, Arena& arena) {
    s.h[static_cast<int>(p)] = linear_forward(linear, x, y, context_.dropout, ws_, arena);
  }

  // A projection into heads, with the norm of each head where the family has one.
  void project_heads(LayerSaved& s, const Linear& linear, Projection p, const Tensor& norm, Tensor& raw, Tensor& rstd,
                     Tensor& out, int64_t heads, Arena& arena) {
    out = take_heads(s, heads, arena);
    if (!norm.defined()) {
      project(s, linear, p, s.x_normed, out.view({tokens(s), -1}), arena);
      return;
    }
    raw = take_heads(s, heads, arena);
    rstd = arena.take({tokens(s) * heads}, at::kFloat);
    project(s, linear, p, s.x_normed, raw.view({tokens(s), -1}), arena);
    rms_norm(raw.view({-1, config_.head_dim}), norm, config_.rms_norm_eps, out.view({-1, config_.head_dim}), rstd,
             ws_.place.queue);
  }

  const Layer& layer_;
  const LayerContext& context_;
  const ModelConfig& config_;
  Workspace& ws_;
};

// Gradient of a head projection's output back through rope and the norm of each head, in place.
void heads_backward(const Tensor& d, const Tensor& raw, const Tensor& norm, const Tensor& rstd, const LayerContext& context,
                    Workspace& ws) {
  rope_in_place(d, context.positions, context.rope, /*inverse=*/true, ws.place.queue);
  if (!norm.defined()) return;
  const int64_t width = context.config.head_dim;
  const Tensor flat = d.view({-1, width});
  Tensor dx = ws.scratch.take(flat.sizes(), flat.scalar_type());
  rms_norm_backward(flat, raw.view({-1, width}), norm, rstd, dx, /*accumulate=*/false, ws.place.queue);
  copy_into(dx, flat, ws.place.queue);
}

// The MLP in chunks of tokens, so that its temporaries, the widest of a layer, do not grow with a row's length (as TiledMLP of
// arXiv 2506.13996). Adapters' gradients are then summed chunk by chunk, in another order than at once, and LibTorch may choose
// another kernel for fewer rows: the last bits differ. Kept and rebuilt activations are cut alike and do not.
constexpr Projection kMlp[] = {Projection::kGate, Projection::kUp, Projection::kDown};

bool in_chunks(const LayerContext& context, int64_t tokens) {
  return context.mlp_chunk_tokens > 0 && tokens > context.mlp_chunk_tokens;
}

// Calls part(begin, count, context) for each chunk. A chunk has dropout masks of its own: passes are numbered below 2^48.
template <class Part>
void each_chunk(const LayerContext& context, int64_t tokens, const Part& part) {
  LayerContext chunk = context;
  for (int64_t begin = 0; begin < tokens; begin += context.mlp_chunk_tokens) {
    part(begin, std::min(context.mlp_chunk_tokens, tokens - begin), chunk);
    chunk.dropout.micro_step += uint64_t{1} << 48;
  }
}

// Some tokens of what the MLP reads and keeps.
LayerSaved rows_of(const LayerSaved& s, int64_t begin, int64_t count) {
  const auto rows = [&](const Tensor& t) { return t.defined() ? t.narrow(0, begin, count) : t; };
  LayerSaved part;
  part.x = rows(s.x);
  part.mid = rows(s.mid);
  part.mid_normed = rows(s.mid_normed);
  part.gate = rows(s.gate);
  part.up = rows(s.up);
  for (const Projection p : kMlp) part.h[static_cast<int>(p)] = rows(s.h[static_cast<int>(p)]);
  return part;
}

// Where `mlp` is ws.saved, gate and up are kept. y is written.
void mlp_forward_in_chunks(const Layer& layer, const LayerContext& context, LayerSaved& s, const Tensor& y, Arena& mlp, Arena& down,
                           Workspace& ws) {
  LayerPass whole(layer, context, ws);
  const bool keeps = &mlp != &ws.scratch;
  if (keeps) whole.take_gate_up(s, mlp);
  for (const Projection p : kMlp) {
    const std::optional<Lora>& lora = layer.projection(p).lora;
    Arena& arena = p == Projection::kDown ? down : mlp;
    if (lora && (keeps || p == Projection::kDown)) s.h[static_cast<int>(p)] = arena.take({s.x.size(0), lora->rank()}, s.x.scalar_type());
  }
  each_chunk(context, s.x.size(0), [&](int64_t begin, int64_t count, const LayerContext& chunk) {
    ArenaScope scope(ws.scratch);
    LayerPass pass(layer, chunk, ws);
    const LayerSaved kept = rows_of(s, begin, count);
    LayerSaved part = kept;
    pass.gate_up(part, ws.scratch);
    pass.down(part, y.narrow(0, begin, count), ws.scratch);
    for (const Projection p : kMlp) {
      const Tensor& h = kept.h[static_cast<int>(p)];
      if (h.defined()) copy_into(part.h[static_cast<int>(p)], h, ws.place.queue);
    }
  });
}

// y = mid + down(act): from dy to the gradient of mid's norm, which is taken where it is undefined, else written. act is
// rebuilt in the pass that makes gate's and up's gradients, and takes the place of its own.
void mlp_backward(Layer& layer, const LayerContext& context, LayerSaved& s, const Tensor& dy, Tensor& d_normed, Workspace& ws) {
  const Tensor d_act = ws.scratch.take(s.gate.sizes(), dy.scalar_type()), act = d_act;
  const Tensor down_dh = linear_backward_input(layer.down, s.h[static_cast<int>(Projection::kDown)], dy, d_act, Into::kWrite,
                                               context.dropout, ws);
  swiglu_backward(d_act, s.gate, s.up, /*dgate=*/s.gate, /*dup=*/s.up, act, ws.place.queue);
  linear_backward_a(layer.down, act, down_dh, context.dropout, ws);
  if (!d_normed.defined()) d_normed = ws.scratch.take(dy.sizes(), dy.scalar_type());
  linear_backward(layer.gate, s.mid_normed, s.h[static_cast<int>(Projection::kGate)], s.gate, d_normed, Into::kWrite, context.dropout, ws);
  linear_backward(layer.up, s.mid_normed, s.h[static_cast<int>(Projection::kUp)], s.up, d_normed, Into::kAdd, context.dropout, ws);
}

void mlp_backward_in_chunks(Layer& layer, const LayerContext& context, const LayerSaved& s, const Tensor& dy, const Tensor& d_normed,
                            Workspace& ws) {
  each_chunk(context, dy.size(0), [&](int64_t begin, int64_t count, const LayerContext& chunk) {
    ArenaScope scope(ws.scratch);
    LayerSaved part = rows_of(s, begin, count);
    const Tensor down_h = part.h[static_cast<int>(Projection::kDown)];
    if (!part.gate.defined()) LayerPass(layer, chunk, ws).gate_up(part, ws.scratch);
    part.h[static_cast<int>(Projection::kDown)] = down_h;
    Tensor d_part = d_normed.narrow(0, begin, count);
    mlp_backward(layer, chunk, part, dy.narrow(0, begin, count), d_part, ws);
  });
}

}  // namespace

void layer_forward(const Layer& layer, const LayerContext& context, const Tensor& x, const Tensor& y, RecomputePolicy policy,
                   LayerSaved* saved, Workspace& ws, KvCache* cache) {
  ArenaScope scope(ws.scratch);
  LayerPass pass(layer, context, ws);
  LayerSaved s;
  s.x = x;
  // Where each piece lives: kept until backward, or only until this call ends.
  const bool training = saved != nullptr;
  Arena& elementwise = training && policy.keeps_elementwise() ? ws.saved : ws.scratch;
  Arena& attention = training && policy.keeps_attention() ? ws.saved : ws.scratch;
  Arena& mlp = training && policy.keeps_mlp() ? ws.saved : ws.scratch;
  s.x_rstd = attention.take({x.size(0)}, at::kFloat);
  s.mid_rstd = attention.take({x.size(0)}, at::kFloat);
  Tensor out = y;
  LayerPieces pieces(layer, context, policy, s, {&out}, ws);
  pieces.run(LayerPiece::kHeads, [&] {
    pass.input_norm(s, elementwise);
    pass.heads(s, attention);
  });
  layer_attention(layer, context, s, ws, attention, cache);
  pieces.run(LayerPiece::kMlp, [&] {
    pass.mid(s, attention, elementwise);
    if (in_chunks(context, x.size(0))) {
      mlp_forward_in_chunks(layer, context, s, y, mlp, training ? ws.saved : ws.scratch, ws);
    } else {
      pass.gate_up(s, mlp);
      pass.down(s, y, training ? ws.saved : ws.scratch);
    }
  });
  if (!training) return;
  const Tensor down_h = s.h[static_cast<int>(Projection::kDown)];
  if (!policy.keeps_attention()) {
    s = LayerSaved{};
    s.x = x;
  }
  if (!policy.keeps_elementwise()) s.x_normed = s.mid_normed = Tensor();
  if (!policy.keeps_mlp()) s.gate = s.up = Tensor();
  s.h[static_cast<int>(Projection::kDown)] = down_h;
  *saved = std::move(s);
}

void layer_backward(Layer& layer, const LayerContext& context, LayerSaved& s, RecomputePolicy policy, const Tensor& dy,
                    bool first_layer, Workspace& ws) {
  ArenaScope scope(ws.scratch);
  LayerPass pass(layer, context, ws);
  const int64_t tokens = s.x.size(0);
  const at::ScalarType dtype = dy.scalar_type();
  const auto backward = [&](Linear& linear, Projection p, const Tensor& x, const Tensor& d, const Tensor& dx, Into into) {
    linear_backward(linear, x, s.h[static_cast<int>(p)], d, dx, into, context.dropout, ws);
  };
  // dy is the gradient of the layer's output, then of mid, then of x. d_normed: of mid's norm, then of x's.
  Tensor d = dy, d_normed, d_attended, dq, dk, dv;
  LayerPieces pieces(layer, context, policy, s, {&d, &d_normed, &d_attended, &dq, &dk, &dv}, ws);

  if (!policy.keeps_attention()) {
    pieces.run(LayerPiece::kHeadsAgain, [&] {
      pass.input_norm(s, ws.scratch);
      pass.heads(s, ws.scratch);
    });
    layer_attention(layer, context, s, ws, ws.scratch, nullptr);
  }
  pieces.run(LayerPiece::kMlpBackward, [&] {
    if (!policy.keeps_attention()) {
      pass.mid(s, ws.scratch, ws.scratch);
    } else if (!policy.keeps_elementwise()) {
      pass.input_norm(s, ws.scratch);
      pass.mid_norm(s, ws.scratch);
    }
    const bool chunks = in_chunks(context, tokens);
    if (!policy.keeps_mlp() && !chunks) pass.gate_up(s, ws.scratch);
    if (chunks) {
      d_normed = ws.scratch.take(dy.sizes(), dtype);
      mlp_backward_in_chunks(layer, context, s, dy, d_normed, ws);
    } else {
      mlp_backward(layer, context, s, dy, d_normed, ws);
    }
    // dy becomes the gradient of mid: the residual's part is already in it.
    rms_norm_backward(d_normed, s.mid, layer.post_attention_norm, s.mid_rstd, dy, /*accumulate=*/true, ws.place.queue);
    // mid = x + o(attended)
    d_attended = ws.scratch.take(s.attended.sizes(), dtype);
    backward(layer.o, Projection::kO, s.attended, dy, d_attended, Into::kWrite);
    dq = ws.scratch.take(s.q.sizes(), dtype);
    dk = ws.scratch.take(s.k.sizes(), dtype);
    dv = ws.scratch.take(s.v.sizes(), dtype);
  });
  layer_attention_backward(layer, context, s, d_attended, dq, dk, dv, ws.place.queue);
  pieces.run(LayerPiece::kHeadsBackward, [&] {
    heads_backward(dq, s.q_raw, layer.q_norm, s.q_rstd, context, ws);
    heads_backward(dk, s.k_raw, layer.k_norm, s.k_rstd, context, ws);
    const Tensor d_input = first_layer ? Tensor() : d_normed;
    backward(layer.q, Projection::kQ, s.x_normed, dq.view({tokens, -1}), d_input, Into::kWrite);
    backward(layer.k, Projection::kK, s.x_normed, dk.view({tokens, -1}), d_input, Into::kAdd);
    backward(layer.v, Projection::kV, s.x_normed, dv.view({tokens, -1}), d_input, Into::kAdd);
    if (first_layer) return;
    rms_norm_backward(d_normed, s.x, layer.input_norm, s.x_rstd, dy, /*accumulate=*/true, ws.place.queue);
  }, /*choice=*/first_layer);
}

int64_t saved_bytes_per_token(const ModelConfig& config, RecomputePolicy policy, int64_t element_bytes, int64_t lora_rank) {
  const int64_t width = config.hidden_size, rstd = 4;
  int64_t elements = width, bytes = 0;
  int64_t adapters = 1;  // down's h is always kept
  if (policy.keeps_attention()) {
    elements += 2 * config.q_width() + 2 * config.kv_width() + width;
    bytes += 2 * rstd + 4 * config.num_attention_heads;
    adapters += 4;
    if (config.qk_norm) {
      elements += config.q_width() + config.kv_width();
      bytes += rstd * (config.num_attention_heads + config.num_key_value_heads);
    }
  }
  if (policy.keeps_mlp()) {
    elements += 2 * config.intermediate_size;
    adapters += 2;
  }
  if (policy.keeps_elementwise()) elements += 2 * width;
  return bytes + element_bytes * (elements + adapters * lora_rank);
}

}  // namespace nibble::nn
