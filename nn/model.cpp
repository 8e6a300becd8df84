#include "nn/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>
#include <utility>

#include "gpu/runtime_table.h"
#include "nn/batch_upload.h"
#include "nn/embedding.h"
#include "nn/head.h"
#include "nn/layer.h"
#include "nn/loss.h"
#include "nn/rms_norm.h"
#include "nn/step_graph.h"
#include "nn/torch_ops.h"

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

RecomputePolicy policy_of(const PassOptions& options, size_t layer) {
  return options.recompute.empty() ? RecomputePolicy{} : options.recompute.at(layer);
}

// The orders in which passes ask for weights (nn/weight_panels.h).
enum WeightOrder : int64_t { kForwardAndBackward, kForward };

std::vector<int64_t> offloaded_layers(const PassOptions& options, size_t layers, const Place& place) {
  std::vector<int64_t> offloaded;
  for (size_t l = 0; place.queue && l < layers; ++l) {
    if (policy_of(options, l).offloads_input()) offloaded.push_back(static_cast<int64_t>(l));
  }
  return offloaded;
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

Pass::Pass(Model& model, int64_t max_positions, const Place& place)
    : model_(model), rope_(make_rope_table(model.config, max_positions)), ws_(place), offload_(place), host_embedding_(place),
      upload_(std::make_unique<BatchUpload>(place)) {
  ws_.saved.set_part(MemoryPart::kSavedActivations);
  ws_.panels.set_readable([this](const quant::QuantizedWeight& weight) {
    return !model_.feed || part_of(weight) == entered_ || model_.feed->resident(part_of(weight));
  });
  if (!place.queue) return;
  rope_ = {rope_.cos.to(place.device), rope_.sin.to(place.device)};
  device_nll_ = at::zeros({1}, place.options(at::kDouble));
}

Pass::~Pass() = default;

void Pass::enter(int64_t part, int64_t next) {
  if (model_.feed) {
    ws_.panels.settle();  // what was decoded ahead may read the bytes of the part that leaves
    entered_ = part;
  }
  model_.enter(part, next);
}

int64_t Pass::part_of(const quant::QuantizedWeight& weight) const {
  const auto begin = reinterpret_cast<uintptr_t>(model_.layers.data()), at = reinterpret_cast<uintptr_t>(&weight);
  const auto layer = static_cast<int64_t>((at - begin) / sizeof(Layer));
  return at >= begin && layer < head_part() ? layer : head_part();
}

Tensor Pass::embed(const DeviceBatch& batch, const Tensor& x) {
  if (model_.embedding_on_host) {
    host_embedding_.gather(model_.embedding, batch.host_ids, x);
  } else {
    nn::embed(model_.embedding, batch.ids, x, ws_.place.queue);
  }
  return x;
}

Tensor Pass::input_of(size_t layer, at::IntArrayRef sizes) {
  const auto l = static_cast<int64_t>(layer);
  return offload_.holds(l) ? offload_.input(l) : ws_.saved.take(sizes, model_.dtype);
}

LayerContext Pass::context(const DeviceBatch& batch, std::span<const int32_t> document_starts,
                           const DropoutContext& dropout) const {
  LayerContext made{model_.config, rope_, batch.positions, document_starts, dropout, batch.documents, mlp_chunk_tokens_};
  if (batch.micro_step != nullptr) {
    made.dropout.micro_step = 0;
    made.dropout.device_step = batch.micro_step;
  }
  return made;
}

void Pass::use_graphs(bool use) {
  if (use == (graphs_ != nullptr) || !ws_.place.queue) return;
  if (use) {
    // Of the largest models, too, those of four numbers of tokens.
    constexpr size_t kFew = 1024, kPieces = 5, kNumbers = 4;
    graphs_ = std::make_unique<StepGraphs>(ws_.place, std::max(kFew, kNumbers * kPieces * model_.layers.size()));
  } else {
    graphs_->clear();
    graphs_.reset();
  }
}

bool Pass::base_stays() const {
  for (int64_t part = 0; model_.feed && part < head_part(); ++part) {
    if (!model_.feed->resident(part)) return false;
  }
  return true;
}

LossSum Pass::loss(const Tensor& normed, const LabelledRows& labelled, const DeviceBatch& batch, const PassOptions& options,
                   const Tensor& d_hidden) {
  const ArenaPart part(ws_.scratch, MemoryPart::kLogits);
  LossSum sum{std::numeric_limits<double>::quiet_NaN(), static_cast<int64_t>(labelled.rows.size())};
  if (ws_.place.queue) {
    head_loss_queued(normed, model_.head, batch.rows, batch.targets, options.loss_chunk_tokens, d_hidden, device_nll_, ws_);
  } else {
    sum = head_loss(normed, model_.head, labelled, options.loss_chunk_tokens, d_hidden, ws_);
    collected_.nll += sum.nll;
  }
  collected_.tokens += sum.tokens;
  return sum;
}

LossSum Pass::collect() {
  if (device_nll_.defined()) {
    ws_.place.queue.module->runtime->synchronize(ws_.place.queue.stream);
    collected_.nll = device_nll_.item<double>();
    fill_zero(device_nll_, ws_.place.queue);
  }
  return std::exchange(collected_, {});
}

LossSum Pass::forward_backward(const TokenBatch& batch, const PassOptions& options) {
  check_batch(batch, model_.config, rope_.max_positions());
  ArenaScope saved_scope(ws_.saved), scratch_scope(ws_.scratch);
  const LabelledRows labelled = labelled_rows(batch.labels, batch.document_starts);
  const DeviceBatch on_device = upload_->upload(batch, labelled, options.dropout.micro_step);
  LayerContext layer_context = context(on_device, batch.document_starts, options.dropout);
  if (graphs_ && base_stays()) layer_context.graphs = graphs_.get();
  const gpu::Queue& queue = ws_.place.queue;
  const size_t count = model_.layers.size();
  std::vector<LayerSaved> saved(count);
  std::vector<Arena::Mark> below(count);  // the stack of kept tensors before each layer
  const std::array<int64_t, 2> sizes{on_device.ids.size(0), model_.config.hidden_size};
  ws_.panels.begin(kForwardAndBackward);
  offload_.begin(offloaded_layers(options, count, ws_.place), sizes, model_.dtype, ws_.saved);
  Tensor x = embed(on_device, input_of(0, sizes));
  for (size_t l = 0; l < count; ++l) {
    Tensor y = input_of(l + 1, sizes);
    below[l] = ws_.saved.mark();
    if (offload_.holds(static_cast<int64_t>(l))) offload_.store(static_cast<int64_t>(l));
    enter(static_cast<int64_t>(l), static_cast<int64_t>(l) + 1);
    layer_forward(model_.layers[l], layer_context, x, y, policy_of(options, l), &saved[l], ws_);
    x = y;
  }
  const Tensor normed = ws_.scratch.take(x.sizes(), model_.dtype);
  const Tensor rstd = ws_.scratch.take({x.size(0)}, at::kFloat);
  rms_norm(x, model_.final_norm, model_.config.rms_norm_eps, normed, rstd, queue);
  const Tensor dy = ws_.scratch.take(x.sizes(), model_.dtype);
  enter(head_part(), head_part() - 1);
  const LossSum sum = loss(normed, labelled, on_device, options, dy);
  if (sum.tokens == 0) return offload_.end(), sum;
  const Tensor dx = ws_.scratch.take(x.sizes(), model_.dtype);
  rms_norm_backward(dy, x, model_.final_norm, rstd, dx, /*accumulate=*/false, queue);
  for (size_t l = count; l-- > 0;) {
    enter(static_cast<int64_t>(l), std::max<int64_t>(0, static_cast<int64_t>(l) - 1));
    if (options.backward_reaches) options.backward_reaches(static_cast<int64_t>(l));
    if (offload_.holds(static_cast<int64_t>(l))) saved[l].x = offload_.fetch(static_cast<int64_t>(l));
    layer_backward(model_.layers[l], layer_context, saved[l], policy_of(options, l), dx, /*first_layer=*/l == 0, ws_);
    ws_.saved.release(below[l]);
  }
  offload_.end();
  return sum;
}

Tensor Pass::run_layers(const DeviceBatch& batch, std::span<const int32_t> document_starts, const PassOptions& options) {
  const LayerContext layer_context = context(batch, document_starts, options.dropout);
  const auto show = [&](int64_t layer, const Tensor& hidden) {
    if (options.layer_output) options.layer_output(layer, hidden);
  };
  ws_.panels.begin(kForward);
  Tensor x = embed(batch, ws_.saved.take({batch.ids.size(0), model_.config.hidden_size}, model_.dtype));
  Tensor y = ws_.saved.take(x.sizes(), model_.dtype);
  show(-1, x);
  for (int64_t l = 0; l < head_part(); ++l) {
    enter(l, l + 1);
    layer_forward(model_.layers[static_cast<size_t>(l)], layer_context, x, y, {}, nullptr, ws_);
    std::swap(x, y);
    show(l, x);
  }
  rms_norm(x, model_.final_norm, model_.config.rms_norm_eps, y, Tensor(), ws_.place.queue);
  show(head_part(), y);
  return y;
}

LossSum Pass::forward_loss(const TokenBatch& batch, const PassOptions& options) {
  check_batch(batch, model_.config, rope_.max_positions());
  ArenaScope saved_scope(ws_.saved), scratch_scope(ws_.scratch);
  const LabelledRows labelled = labelled_rows(batch.labels, batch.document_starts);
  const DeviceBatch on_device = upload_->upload(batch, labelled, options.dropout.micro_step);
  const Tensor hidden = run_layers(on_device, batch.document_starts, options);
  enter(head_part(), 0);
  return loss(hidden, labelled, on_device, options, Tensor());
}

Tensor Pass::forward_logits(const TokenBatch& batch) {
  check_batch(batch, model_.config, rope_.max_positions());
  ArenaScope saved_scope(ws_.saved), scratch_scope(ws_.scratch);
  const Tensor hidden = run_layers(upload_->upload(batch, {}), batch.document_starts, {});
  enter(head_part(), 0);
  const Tensor logits = at::empty({hidden.size(0), model_.config.vocab_size}, hidden.options());
  head_logits(model_.head, hidden, logits, ws_);
  return logits;
}

std::vector<Tensor> Pass::forward_hidden_states(const TokenBatch& batch) {
  check_batch(batch, model_.config, rope_.max_positions());
  ArenaScope saved_scope(ws_.saved), scratch_scope(ws_.scratch);
  const DeviceBatch on_device = upload_->upload(batch, {});
  const LayerContext layer_context = context(on_device, batch.document_starts, {});
  ws_.panels.begin(kForward);
  Tensor x = embed(on_device, ws_.saved.take({on_device.ids.size(0), model_.config.hidden_size}, model_.dtype));
  std::vector<Tensor> states{x.clone()};
  for (int64_t l = 0; l < head_part(); ++l) {
    const Tensor y = ws_.saved.take(x.sizes(), model_.dtype);
    enter(l, l + 1 < head_part() ? l + 1 : 0);
    layer_forward(model_.layers[static_cast<size_t>(l)], layer_context, x, y, {}, nullptr, ws_);
    x = y;
    states.push_back(x.clone());
  }
  const Tensor normed = at::empty_like(x);
  rms_norm(x, model_.final_norm, model_.config.rms_norm_eps, normed, Tensor(), ws_.place.queue);
  states.push_back(normed);
  return states;
}

}  // namespace nibble::nn
