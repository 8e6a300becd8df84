#include "nn/weight_panels.h"

#include "gpu/runtime_table.h"
#include "quant/blockwise.h"

namespace nibble::nn {

WeightPanels::WeightPanels(const Place& place)
    : place_(place), panels_{Arena(place, MemoryPart::kPanels), Arena(place, MemoryPart::kPanels)} {}

WeightPanels::~WeightPanels() {
  if (!place_.queue) return;
  const gpu::RuntimeTable& runtime = *place_.queue.module->runtime;
  if (second_stream_ != nullptr) runtime.destroy_stream(second_stream_);
  for (void* event : {queued_, ready_}) {
    if (event != nullptr) runtime.destroy_event(event);
  }
}

void WeightPanels::begin(int64_t order) {
  settle();
  order_ = &orders_[order];
  position_ = 0;
  current_ = 0;  // so that passes of one kind have the same weight in the same panel
}

void WeightPanels::join() {
  if (coming_ == nullptr || joined_) return;
  joined_ = true;
  place_.queue.module->runtime->wait(place_.queue.stream, ready_);
}

void WeightPanels::settle() {
  join();
  coming_ = nullptr;
}

WeightPanels::State WeightPanels::state(size_t from) const {
  State state{current_, coming_, coming_dtype_, {}};
  if (order_ == nullptr) return state;
  const auto at = [&](size_t position) { return order_->begin() + static_cast<std::ptrdiff_t>(position); };
  state.asked.assign(at(from), at(position_));
  return state;
}

void WeightPanels::restore(const State& state, size_t from) {
  position_ = from;
  for (const quant::QuantizedWeight* weight : state.asked) follower(*weight);
  current_ = state.current;
  coming_ = state.coming;
  coming_dtype_ = state.coming_dtype;
  joined_ = true;
}

void WeightPanels::describe_to(std::vector<int64_t>& key) const {
  const auto dtype = coming_ != nullptr ? static_cast<int64_t>(coming_dtype_) : int64_t{-1};
  key.insert(key.end(), {current_, ahead_, reinterpret_cast<int64_t>(coming_), dtype, static_cast<int64_t>(position_)});
  for (const Arena& panel : panels_) panel.describe_to(key);
}

void WeightPanels::set_ahead(bool ahead) {
  settle();
  ahead_ = ahead;
}

// Larger weights than before come in a run's first pass only: then the runtime waits for the readers of the old memory.
Tensor WeightPanels::panel(int number, const quant::QuantizedWeight& weight, at::ScalarType dtype) {
  ArenaScope whole(panels_[number]);
  return panels_[number].take({weight.out, weight.in}, dtype);
}

// Remembers that `weight` was asked for. Returns which one followed it the last time, or null.
const quant::QuantizedWeight* WeightPanels::follower(const quant::QuantizedWeight& weight) {
  if (order_ == nullptr) return nullptr;
  if (position_ < order_->size() && (*order_)[position_] != &weight) order_->resize(position_);
  if (position_ == order_->size()) order_->push_back(&weight);
  ++position_;
  return position_ < order_->size() ? (*order_)[position_] : nullptr;
}

void WeightPanels::decode_ahead(const quant::QuantizedWeight& weight, at::ScalarType dtype) {
  const gpu::RuntimeTable& runtime = *place_.queue.module->runtime;
  if (second_stream_ == nullptr) second_stream_ = runtime.create_stream();
  if (queued_ == nullptr) queued_ = runtime.create_event();
  if (ready_ == nullptr) ready_ = runtime.create_event();
  const Tensor into = panel(current_ ^ 1, weight, dtype);
  runtime.record(queued_, place_.queue.stream);
  runtime.wait(second_stream_, queued_);
  quant::dequantize_into(weight, into, {place_.queue.module, second_stream_});
  runtime.record(ready_, second_stream_);
  coming_ = &weight;
  coming_dtype_ = dtype;
  joined_ = false;
}

Tensor WeightPanels::decoded(const quant::QuantizedWeight& weight, at::ScalarType dtype) {
  if (!place_.queue) {
    const Tensor into = panel(0, weight, dtype);
    quant::dequantize_into(weight, into);
    return into;
  }
  const bool there = coming_ == &weight && coming_dtype_ == dtype;
  settle();  // in either case: what comes next on the main stream may write to that panel
  if (ahead_) current_ ^= 1;
  const Tensor into = panel(current_, weight, dtype);
  if (!there) quant::dequantize_into(weight, into, place_.queue);
  const quant::QuantizedWeight* next = follower(weight);
  if (ahead_ && next != nullptr && (!readable_ || readable_(*next))) decode_ahead(*next, dtype);
  return into;
}

}  // namespace nibble::nn
