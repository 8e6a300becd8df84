#include "nn/layer_pieces.h"

#include <bit>
#include <utility>

namespace nibble::nn {
namespace {

using Key = StepGraphs::Key;

int64_t number(const void* p) { return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p)); }
int64_t number(float value) { return std::bit_cast<int32_t>(value); }
int64_t address(const Tensor& t) { return t.defined() ? number(t.const_data_ptr()) : 0; }

void add_linear(Key& key, const Linear& linear) {
  const quant::QuantizedWeight& packed = linear.weight.packed;
  for (const Tensor* t : {&linear.weight.dense, &linear.bias, &packed.codes, &packed.absmax, &packed.absmax_codes, &packed.nested_absmax}) {
    key.push_back(address(*t));
  }
  key.push_back(number(packed.nested_offset));
  key.push_back(linear.lora.has_value());
  if (!linear.lora) return;
  const Lora& lora = *linear.lora;
  key.insert(key.end(), {address(lora.a), address(lora.b), address(lora.da), address(lora.db), lora.rank(), number(lora.scale),
                         number(lora.dropout), static_cast<int64_t>(lora.number)});
}

}  // namespace

// What pieces change besides queueing work.
struct LayerPieces::Host {
  std::vector<Tensor> tensors;  // of arenas: they keep no memory alive
  BlockStack::State saved, scratch;
  WeightPanels::State panels;
};

LayerPieces::LayerPieces(const Layer& layer, const LayerContext& context, RecomputePolicy policy, LayerSaved& s,
                         std::initializer_list<Tensor*> also, Workspace& ws)
    : layer_(layer), context_(context), ws_(ws) {
  if (context.graphs == nullptr) return;
  s.each_tensor([&](Tensor& t) { tensors_.push_back(&t); });
  tensors_.insert(tensors_.end(), also);
  const DropoutContext& dropout = context.dropout;
  fixed_ = {number(&layer), s.x.size(0), static_cast<int64_t>(policy.level), context.mlp_chunk_tokens, address(context.positions),
            address(context.rope.cos), address(context.rope.sin), dropout.training, static_cast<int64_t>(dropout.seed),
            static_cast<int64_t>(dropout.micro_step), number(dropout.device_step)};
  for (const Tensor* t : {&layer.input_norm, &layer.post_attention_norm, &layer.q_norm, &layer.k_norm}) fixed_.push_back(address(*t));
  for (int p = 0; p < kProjections; ++p) add_linear(fixed_, layer.projection(static_cast<Projection>(p)));
}

StepGraphs::Key LayerPieces::key(LayerPiece piece, int64_t choice) const {
  Key key{static_cast<int64_t>(piece), choice};
  key.insert(key.end(), fixed_.begin(), fixed_.end());
  for (const Tensor* t : tensors_) key.push_back(address(*t));
  ws_.saved.describe_to(key);
  ws_.scratch.describe_to(key);
  ws_.panels.describe_to(key);
  return key;
}

LayerPieces::Host LayerPieces::save(size_t from) const {
  Host host{{}, ws_.saved.state(), ws_.scratch.state(), ws_.panels.state(from)};
  for (const Tensor* t : tensors_) host.tensors.push_back(*t);
  return host;
}

void LayerPieces::restore(const Host& host, size_t from) {
  for (size_t i = 0; i < tensors_.size(); ++i) *tensors_[i] = host.tensors[i];
  ws_.saved.restore(host.saved);
  ws_.scratch.restore(host.scratch);
  ws_.panels.restore(host.panels, from);
}

void LayerPieces::run(LayerPiece piece, const std::function<void()>& work, int64_t choice) {
  if (context_.graphs == nullptr) return work();
  ws_.panels.join();
  const size_t from = ws_.panels.position();
  context_.graphs->run(key(piece, choice), [&] {
    work();
    ws_.panels.join();
  }, {[&] { return std::any(save(from)); }, [&](const std::any& host) { restore(std::any_cast<const Host&>(host), from); }});
}

}  // namespace nibble::nn
