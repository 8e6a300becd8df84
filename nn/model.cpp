#include "nn/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "nn/layer.h"
#include "nn/loss.h"
#include "nn/rms_norm.h"

namespace nibble::nn {
namespace {

void check_batch(const TokenBatch& batch, const ModelConfig& config, int64_t max_positions) {
  const size_t tokens = batch.ids.size();
  if (batch.positions.size() != tokens || (!batch.labels.empty() && batch.labels.size() != tokens) ||
      batch.document_starts.size() < 2 || static_cast<size_t>(batch.document_starts.back()) != tokens) {
    throw std::logic_error("ids, labels, positions and document_starts disagree about the number of tokens");
  }
  for (size_t i = 0; i < tokens; ++i) {
    if (batch.ids[i] < 0 || batch.ids[i] >= config.vocab_size) {
      throw std::invalid_argument(
          fmt::format("token id {} is outside the model's vocabulary of {}", batch.ids[i], config.vocab_size));
    }
    if (batch.positions[i] < 0 || batch.positions[i] >= max_positions) {
      throw std::invalid_argument(fmt::format("position {} is outside 0..{}", batch.positions[i], max_positions - 1));
    }
  }
  for (int32_t label : batch.labels) {
    if (label >= config.vocab_size) {
      throw std::invalid_argument(fmt::format("label {} is outside the model's vocabulary of {}", label, config.vocab_size));
    }
  }
}

Tensor positions_tensor(const TokenBatch& batch) {
  return at::from_blob(const_cast<int32_t*>(batch.positions.data()), {static_cast<int64_t>(batch.positions.size())}, at::kInt);
}

RecomputePolicy policy_of(const PassOptions& options, size_t layer) {
  return options.recompute.empty() ? RecomputePolicy{} : options.recompute.at(layer);
}

}  // namespace

Linear& Layer::projection(Projection p) {
  switch (p) {
    case Projection::kQ: return q;
    case Projection::kK: return k;
    case Projection::kV: return v;
    case Projection::kO: return o;
    case Projection::kGate: return gate;
    case Projection::kUp: return up;
    case Projection::kDown: return down;
  }
  throw std::logic_error("no such projection");
}

const Linear& Layer::projection(Projection p) const { return const_cast<Layer*>(this)->projection(p); }

void Model::each_lora(const std::function<void(const std::string&, Lora&)>& visit) {
  for (Layer& layer : layers) {
    for (int p = 0; p < kProjections; ++p) {
      Linear& linear = layer.projection(static_cast<Projection>(p));
      if (linear.lora) visit(linear.path, *linear.lora);
    }
  }
}

void Model::each_lora(const std::function<void(const std::string&, const Lora&)>& visit) const {
  const_cast<Model*>(this)->each_lora([&](const std::string& path, Lora& lora) { visit(path, lora); });
}

Pass::Pass(Model& model, int64_t max_positions)
    : model_(model), rope_(make_rope_table(model.config, max_positions)) {}

Tensor Pass::embed(const TokenBatch& batch, Arena& arena) {
  const auto tokens = static_cast<int64_t>(batch.ids.size());
  Tensor x = arena.take({tokens, model_.config.hidden_size}, model_.dtype);
  const Tensor ids = at::from_blob(const_cast<int32_t*>(batch.ids.data()), {tokens}, at::kInt);
  at::index_select_out(x, model_.embedding, 0, ids);
  return x;
}

LossSum Pass::forward_backward(const TokenBatch& batch, const PassOptions& options) {
  check_batch(batch, model_.config, rope_.max_positions());
  ArenaScope saved_scope(ws_.saved), scratch_scope(ws_.scratch);
  const LayerContext context{model_.config, rope_, positions_tensor(batch), batch.document_starts, options.dropout};
  const size_t count = model_.layers.size();
  std::vector<LayerSaved> saved(count);
  std::vector<Arena::Mark> below(count);  // the stack of kept tensors before each layer
  Tensor x = embed(batch, ws_.saved);
  for (size_t l = 0; l < count; ++l) {
    Tensor y = ws_.saved.take(x.sizes(), model_.dtype);
    below[l] = ws_.saved.mark();
    layer_forward(model_.layers[l], context, x, y, policy_of(options, l), &saved[l], ws_);
    x = y;
  }
  const Tensor normed = ws_.scratch.take(x.sizes(), model_.dtype);
  const Tensor rstd = ws_.scratch.take({x.size(0)}, at::kFloat);
  rms_norm(x, model_.final_norm, model_.config.rms_norm_eps, normed, rstd);
  const Tensor dy = ws_.scratch.take(x.sizes(), model_.dtype);
  const LossSum loss = head_loss(normed, model_.head, labelled_rows(batch.labels, batch.document_starts),
                                 options.loss_chunk_tokens, dy, ws_.scratch);
  if (loss.tokens == 0) return loss;
  const Tensor dx = ws_.scratch.take(x.sizes(), model_.dtype);
  rms_norm_backward(dy, x, model_.final_norm, rstd, dx, /*accumulate=*/false);
  for (size_t l = count; l-- > 0;) {
    layer_backward(model_.layers[l], context, saved[l], policy_of(options, l), dx, /*first_layer=*/l == 0, ws_);
    ws_.saved.release(below[l]);
  }
  return loss;
}

Tensor Pass::run_layers(const TokenBatch& batch, const Tensor& positions) {
  const LayerContext context{model_.config, rope_, positions, batch.document_starts, {}};
  Tensor x = embed(batch, ws_.saved);
  Tensor y = ws_.saved.take(x.sizes(), model_.dtype);
  for (const Layer& layer : model_.layers) {
    layer_forward(layer, context, x, y, {}, nullptr, ws_);
    std::swap(x, y);
  }
  rms_norm(x, model_.final_norm, model_.config.rms_norm_eps, y, Tensor());
  return y;
}

LossSum Pass::forward_loss(const TokenBatch& batch, const PassOptions& options) {
  check_batch(batch, model_.config, rope_.max_positions());
  ArenaScope saved_scope(ws_.saved), scratch_scope(ws_.scratch);
  const Tensor hidden = run_layers(batch, positions_tensor(batch));
  return head_loss(hidden, model_.head, labelled_rows(batch.labels, batch.document_starts), options.loss_chunk_tokens,
                   Tensor(), ws_.scratch);
}

Tensor Pass::forward_logits(const TokenBatch& batch) {
  check_batch(batch, model_.config, rope_.max_positions());
  ArenaScope saved_scope(ws_.saved), scratch_scope(ws_.scratch);
  return at::mm(run_layers(batch, positions_tensor(batch)), model_.head.t());
}

std::vector<Tensor> Pass::forward_hidden_states(const TokenBatch& batch) {
  check_batch(batch, model_.config, rope_.max_positions());
  ArenaScope saved_scope(ws_.saved), scratch_scope(ws_.scratch);
  const LayerContext context{model_.config, rope_, positions_tensor(batch), batch.document_starts, {}};
  Tensor x = embed(batch, ws_.saved);
  std::vector<Tensor> states{x.clone()};
  for (const Layer& layer : model_.layers) {
    const Tensor y = ws_.saved.take(x.sizes(), model_.dtype);
    layer_forward(layer, context, x, y, {}, nullptr, ws_);
    x = y;
    states.push_back(x.clone());
  }
  const Tensor normed = at::empty_like(x);
  rms_norm(x, model_.final_norm, model_.config.rms_norm_eps, normed, Tensor());
  states.push_back(normed);
  return states;
}

}  // namespace nibble::nn
