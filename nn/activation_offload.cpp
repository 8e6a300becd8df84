#include "nn/activation_offload.h"

#include <algorithm>
#include <stdexcept>

#include "gpu/runtime_table.h"

namespace nibble::nn {

ActivationOffload::~ActivationOffload() {
  if (second_ == nullptr) return;
  try {
    runtime().synchronize(second_);
  } catch (const CudaError&) {
    // A device that failed has been reported by the call that noticed; what is left is to give back what can be.
  }
  runtime().release_pinned(host_);
  for (void* event : {slots_[0].left, slots_[0].arrived, slots_[1].left, slots_[1].arrived, reached_}) {
    if (event != nullptr) runtime().destroy_event(event);
  }
  runtime().destroy_stream(second_);
}

void ActivationOffload::make_streams() {
  if (second_ == nullptr) second_ = runtime().create_stream();
  for (void** event : {&slots_[0].left, &slots_[0].arrived, &slots_[1].left, &slots_[1].arrived, &reached_}) {
    if (*event == nullptr) *event = runtime().create_event();
  }
}

void ActivationOffload::grow_host(int64_t bytes) {
  if (bytes <= host_bytes_) return;
  runtime().synchronize(second_);  // copies of the pass before
  runtime().release_pinned(host_);
  host_ = nullptr;
  host_bytes_ = 0;
  host_share_.set(0);
  try {
    host_ = static_cast<std::byte*>(runtime().allocate_pinned(bytes));
  } catch (const CudaError& e) {
    if (!says_out_of_memory(e.what())) throw;
    throw AllocationFailed(MemoryPart::kSavedActivations, MemorySide::kHost, bytes, e.message());
  }
  host_bytes_ = bytes;
  host_share_.set(bytes);
}

void ActivationOffload::begin(const std::vector<int64_t>& layers, at::IntArrayRef sizes, at::ScalarType dtype, Arena& arena) {
  layers_ = layers;
  if (layers_.empty()) return;
  make_streams();
  for (size_t i = 0; i < std::min<size_t>(2, layers_.size()); ++i) {
    slots_[i].data = arena.take(sizes, dtype);
    slots_[i].waits_left = slots_[i].waits_arrived = false;
  }
  bytes_ = static_cast<int64_t>(slots_[0].data.nbytes());
  if (layers_.size() > 2) grow_host(static_cast<int64_t>(layers_.size() - 2) * bytes_);
}

bool ActivationOffload::holds(int64_t layer) const { return std::binary_search(layers_.begin(), layers_.end(), layer); }

size_t ActivationOffload::index_of(int64_t layer) const {
  const auto found = std::lower_bound(layers_.begin(), layers_.end(), layer);
  if (found == layers_.end() || *found != layer) throw std::invalid_argument("this layer's input is not offloaded");
  return static_cast<size_t>(found - layers_.begin());
}

void ActivationOffload::order_second_after_main() {
  runtime().record(reached_, place_.queue.stream);
  runtime().wait(second_, reached_);
}

Tensor ActivationOffload::input(int64_t layer) {
  Slot& slot = slots_[index_of(layer) % 2];
  // The layer that read the slot's last input ran on the main stream too; only the copy home may still be under way.
  if (slot.waits_left) runtime().wait(place_.queue.stream, slot.left);
  slot.waits_left = false;
  return slot.data;
}

void ActivationOffload::store(int64_t layer) {
  const size_t index = index_of(layer);
  if (!goes_home(index)) return;
  Slot& slot = slots_[index % 2];
  order_second_after_main();
  runtime().copy(home(index), slot.data.const_data_ptr(), bytes_, second_);
  runtime().record(slot.left, second_);
  slot.waits_left = true;
}

Tensor ActivationOffload::fetch(int64_t layer) {
  const size_t index = index_of(layer);
  Slot& slot = slots_[index % 2];
  if (slot.waits_arrived) runtime().wait(place_.queue.stream, slot.arrived);
  slot.waits_arrived = false;
  if (index > 0 && goes_home(index - 1)) {
    // It takes the place of the input above this one, whose layer's backward is queued.
    Slot& next = slots_[(index - 1) % 2];
    order_second_after_main();
    runtime().copy(next.data.data_ptr(), home(index - 1), bytes_, second_);
    runtime().record(next.arrived, second_);
    next.waits_arrived = true;
  }
  return slot.data;
}

void ActivationOffload::end() {
  for (Slot& slot : slots_) {
    if (slot.waits_left) runtime().wait(place_.queue.stream, slot.left);
    if (slot.waits_arrived) runtime().wait(place_.queue.stream, slot.arrived);
    slot.waits_left = slot.waits_arrived = false;
    slot.data = Tensor();
  }
  layers_.clear();
}

}  // namespace nibble::nn
