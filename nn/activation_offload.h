// Layer inputs in pinned host memory between a layer's forward and its backward: recompute level `offload` on a device.
//
// A device holds two inputs at a time, whatever the number of layers. While a layer's forward runs, its input goes home on a
// second stream; while a layer's backward runs, the input of the one below comes:
//
//   main   | forward 0 | forward 1 | forward 2 ...  | backward 3 | backward 2  | backward 1
//   second | 0 home    | 1 home    |                | 1 comes    | 0 comes     |
//
// The last two inputs stay where they are. Events order the streams in both directions, and nothing waits on the host. A
// layer's input at 2 x 2048 tokens and a width of 4096 is 32 MiB: at 25 GB/s a copy takes 1.3 ms, and the layer's forward on an
// RTX 4090 ten times as long.
#pragma once

#include <cstdint>
#include <vector>

#include "nn/arena.h"

namespace nibble::nn {

class ActivationOffload {
 public:
  // REQUIRES place.queue. Nothing is allocated before begin().
  explicit ActivationOffload(const Place& place) : place_(place), host_share_(place.account, MemoryPart::kSavedActivations, MemorySide::kHost) {}
  ActivationOffload(const ActivationOffload&) = delete;
  ~ActivationOffload();

  // A pass begins in which the inputs of these layers, ascending, are held here; each is a tensor of these sizes. The two on
  // the device are taken from `arena` and live as long as the pass. THROWS AllocationFailed, CudaError
  void begin(const std::vector<int64_t>& layers, at::IntArrayRef sizes, at::ScalarType dtype, Arena& arena);

  bool holds(int64_t layer) const;

  // Forward, ascending: the tensor to write the layer's input to. THROWS CudaError
  Tensor input(int64_t layer);
  // It is written by work that is queued: sends it home. Before the layer's forward, which may run at the same time.
  void store(int64_t layer);
  // Backward, descending: the input, as it was, for work that is queued from now on. Brings the next lower one meanwhile.
  Tensor fetch(int64_t layer);
  // The pass is over, with backward or without: what is queued from now on may use the arena's memory.
  void end();

  int64_t host_bytes() const { return host_bytes_; }

 private:
  struct Slot {
    Tensor data;              // on the device
    void* left = nullptr;     // event: what was in it is at home
    void* arrived = nullptr;  // event: what is in it came
    bool waits_left = false, waits_arrived = false;
  };
  const gpu::RuntimeTable& runtime() const { return *place_.queue.module->runtime; }
  size_t index_of(int64_t layer) const;
  bool goes_home(size_t index) const { return index + 2 < layers_.size(); }
  std::byte* home(size_t index) const { return host_ + static_cast<int64_t>(index) * bytes_; }
  void make_streams();
  void grow_host(int64_t bytes);
  void order_second_after_main();

  Place place_;
  std::vector<int64_t> layers_;
  int64_t bytes_ = 0;          // of one input
  Slot slots_[2];              // the n-th of the layers is in slot n % 2
  std::byte* host_ = nullptr;  // pinned
  int64_t host_bytes_ = 0;
  MemoryShare host_share_;
  void* second_ = nullptr;     // stream
  void* reached_ = nullptr;    // event: the main stream is here
};

}  // namespace nibble::nn
