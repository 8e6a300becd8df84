// A base that is streamed from pinned host memory to a device: its packed weights lie in host memory, and the device holds
// two slots of one layer each. While one layer computes, the next one is copied into the other slot on a side stream.
//
//   queue       | layer 0 (slot 0)         | wait a1 | layer 1 (slot 1)     | wait a2 | layer 2 (slot 0) ...
//   side stream | copy 1 -> slot 1, a1     | wait f0 | copy 2 -> slot 0, a2 | wait f1 | copy 3 -> slot 1 ...
//
// a: a slot's bytes have arrived; f: the work on the layer that was in it is done. Layer l is always in slot l % 2, so its
// tensors are views of one place for the whole run; only what lies there changes.
#pragma once

#include <functional>
#include <vector>

#include "core/memory_account.h"
#include "nn/base_feed.h"
#include "nn/model.h"

namespace nibble::nn {

class PinnedFeed final : public BaseFeed {
 public:
  // Moves the 4-bit weights of the model's layers, which are in host memory, layer by layer into pinned memory, and makes
  // the model's tensors views of the slots; `taken` is called after each layer, whose bytes on the host are not needed any
  // more. Everything else of the model is the caller's to place; the head is resident. The layers must not be used before
  // the first enter(), nor after this is gone. THROWS CudaError
  PinnedFeed(Model& model, const Place& place, const std::function<void(int64_t layer)>& taken = {});
  ~PinnedFeed() override;
  PinnedFeed(const PinnedFeed&) = delete;
  PinnedFeed& operator=(const PinnedFeed&) = delete;

  void enter(int64_t part, int64_t next) override;
  bool resident(int64_t part) const override { return part >= static_cast<int64_t>(layers_.size()); }

  int64_t pinned_bytes() const { return pinned_bytes_; }
  int64_t device_bytes() const { return 2 * slot_bytes_; }

 private:
  struct Layer {
    int64_t offset = 0, bytes = 0;  // in pinned memory
  };
  struct Slot {
    void* data = nullptr;
    int64_t layer = kUnknown;   // whose bytes are there, or on their way
    void* arrived = nullptr;    // event on the side stream
    void* free = nullptr;       // event on the queue: the work on the layer is done
    bool used = false;          // free was recorded since the last copy
  };
  static size_t slot_of(int64_t layer) { return static_cast<size_t>(layer % 2); }
  void allocate();
  void release();
  void bring(int64_t layer);
  void leave(int64_t layer);

  Place place_;
  std::vector<Layer> layers_;
  std::byte* pinned_ = nullptr;
  int64_t pinned_bytes_ = 0, slot_bytes_ = 0;
  Slot slots_[2];
  void* side_ = nullptr;  // stream
  int64_t current_ = kUnknown;
  MemoryShare host_share_, device_share_;
};

}  // namespace nibble::nn
