#include "nn/pinned_feed.h"

#include <algorithm>
#include <stdexcept>

#include "core/round_up.h"
#include "gpu/runtime_table.h"

namespace nibble::nn {
namespace {

constexpr int64_t kAlignment = 256;  // of every tensor in a slot, as cudaMalloc gives it

// Calls each(tensor) with the parts of every packed weight of a layer, always in the same order.
template <class LayerType, class Each>
void each_part(LayerType& layer, Each each) {
  for (int p = 0; p < kProjections; ++p) {
    auto& packed = layer.projection(static_cast<Projection>(p)).weight.packed;
    if (!packed.defined()) throw std::logic_error("only a base in 4 bits is streamed to a device");
    for (auto* part : {&packed.codes, &packed.absmax, &packed.absmax_codes, &packed.nested_absmax}) {
      if (part->defined()) each(*part);
    }
  }
}

}  // namespace

PinnedFeed::PinnedFeed(Model& model, const Place& place, const std::function<void(int64_t)>& taken)
    : place_(place), host_share_(place.account, MemoryPart::kBase, MemorySide::kHost),
      device_share_(place.account, MemoryPart::kBase, place.side()) {
  if (!place_.queue) throw std::logic_error("a pinned base needs a device to go to");
  for (const nn::Layer& layer : model.layers) {
    Layer place_of{pinned_bytes_, 0};
    each_part(layer, [&](const Tensor& part) { place_of.bytes += round_up(static_cast<int64_t>(part.nbytes()), kAlignment); });
    pinned_bytes_ += place_of.bytes;
    slot_bytes_ = std::max(slot_bytes_, place_of.bytes);
    layers_.push_back(place_of);
  }
  try {
    allocate();
    for (size_t l = 0; l < layers_.size(); ++l) {
      int64_t offset = 0;
      auto* slot = static_cast<std::byte*>(slots_[slot_of(static_cast<int64_t>(l))].data);
      each_part(model.layers[l], [&](Tensor& part) {
        const auto bytes = static_cast<int64_t>(part.nbytes());
        at::from_blob(pinned_ + layers_[l].offset + offset, part.sizes(), part.options()).copy_(part);
        // The host's copy goes, and its memory with it.
        part = at::for_blob(slot + offset, part.sizes()).options(place_.options(part.scalar_type())).target_device(place_.device).make_tensor();
        offset += round_up(bytes, kAlignment);
      });
      if (taken) taken(static_cast<int64_t>(l));
    }
  } catch (...) {
    release();
    throw;
  }
}

PinnedFeed::~PinnedFeed() {
  try {
    // Copies and readers may still be queued.
    place_.queue.module->runtime->synchronize(side_);
    place_.queue.module->runtime->synchronize(place_.queue.stream);
  } catch (const std::exception&) {  // the device is lost; what follows does not throw
  }
  release();
}

void PinnedFeed::allocate() {
  const gpu::RuntimeTable& runtime = *place_.queue.module->runtime;
  pinned_ = static_cast<std::byte*>(runtime.allocate_pinned(pinned_bytes_));
  host_share_.set(pinned_bytes_);
  for (Slot& slot : slots_) {
    slot.data = runtime.allocate(slot_bytes_);
    slot.arrived = runtime.create_event();
    slot.free = runtime.create_event();
  }
  device_share_.set(2 * slot_bytes_);
  side_ = runtime.create_stream();
}

void PinnedFeed::release() {
  const gpu::RuntimeTable& runtime = *place_.queue.module->runtime;
  if (side_ != nullptr) runtime.destroy_stream(side_);
  for (Slot& slot : slots_) {
    if (slot.arrived != nullptr) runtime.destroy_event(slot.arrived);
    if (slot.free != nullptr) runtime.destroy_event(slot.free);
    runtime.release(slot.data);
  }
  runtime.release_pinned(pinned_);
}

void PinnedFeed::bring(int64_t layer) {
  Slot& slot = slots_[slot_of(layer)];
  if (slot.layer == layer) return;
  const gpu::RuntimeTable& runtime = *place_.queue.module->runtime;
  if (slot.used) runtime.wait(side_, slot.free);
  const Layer& from = layers_[static_cast<size_t>(layer)];
  slot.layer = kUnknown;  // until all of it is queued
  runtime.copy(slot.data, pinned_ + from.offset, from.bytes, side_);
  runtime.record(slot.arrived, side_);
  slot.layer = layer;
  slot.used = false;
}

void PinnedFeed::leave(int64_t layer) {
  Slot& slot = slots_[slot_of(layer)];
  place_.queue.module->runtime->record(slot.free, place_.queue.stream);
  slot.used = true;
}

void PinnedFeed::enter(int64_t part, int64_t next) {
  const auto layers = static_cast<int64_t>(layers_.size());
  if (part < 0 || part > layers || next < kUnknown || next > layers) throw std::logic_error("the base has no such part");
  if (current_ != kUnknown && current_ != part) leave(current_);
  current_ = kUnknown;
  if (part < layers) {
    bring(part);
    place_.queue.module->runtime->wait(place_.queue.stream, slots_[slot_of(part)].arrived);
    current_ = part;
  }
  // Its slot is free unless it is this part's own: after the last layer of an odd number comes layer 0 again.
  if (next >= 0 && next < layers && (part == layers || slot_of(next) != slot_of(part))) bring(next);
}

}  // namespace nibble::nn
