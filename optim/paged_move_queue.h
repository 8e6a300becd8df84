// The side stream on which pages move, and its order against the compute stream: for memory behind a gpu::Queue.
//
// Two events a window. "Arrived" is recorded on the side stream behind the window's pages; the compute stream waits for it
// before the window is used, and so for these pages only, not for others on their way behind them. "Used" is recorded on
// the compute stream behind the work on the window; the side stream waits for it before pages of the window go. Nothing
// waits on the host but finish().
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "gpu/module.h"
#include "gpu/runtime_table.h"

namespace nibble::optim {

// Something of the CUDA runtime's, with the call that gives it back.
using CudaOwned = std::unique_ptr<void, void (*)(void*)>;

class MoveQueue {
 public:
  MoveQueue(const gpu::Queue& compute, size_t windows);  // THROWS CudaError
  MoveQueue(const MoveQueue&) = delete;
  // Waits for both streams, so that memory which they use may be given back.
  ~MoveQueue();

  const gpu::RuntimeTable& runtime() const { return *compute_.module->runtime; }
  void* stream() const { return stream_.get(); }

  void arrived(size_t window);        // its pages are queued
  void before_use(size_t window);
  void after_use(size_t window);
  void before_leaving(size_t window);
  void finish();                      // THROWS CudaError, also of earlier work on the side stream

 private:
  struct WindowEvents {
    CudaOwned arrived, used;
    bool to_arrive = false, in_use = false;  // recorded, and not yet waited for by the other stream
  };
  gpu::Queue compute_;
  CudaOwned stream_;
  std::vector<WindowEvents> windows_;
};

}  // namespace nibble::optim
