// What LibTorch allocates, by component: weights while they are loaded, results of operators while a step runs.
//
// LibTorch tells a profiler of every allocation and release that the profiler's own thread makes (c10/core/Allocator.h,
// MemoryReportingInfoBase), on the CPU and on a device. This is such a profiler: it adds them to a MemoryAccount, as memory
// of the part that the account's stage is about. Memory that others allocate and LibTorch only views (arenas, mapped files)
// is not among them, nor is what other threads allocate.
#pragma once

#include <memory>

#include "core/memory_account.h"
#include "tensor/torch.h"

namespace nibble::tensor {

// Reports this thread's allocations while it lives. Put it before the first tensor: a tensor older than it is unknown to it
// when it goes. One at a time on a thread.
class TorchMemory {
 public:
  // `account` outlives it.
  explicit TorchMemory(MemoryAccount& account);
  TorchMemory(const TorchMemory&) = delete;
  ~TorchMemory();

  // Says that this tensor's memory is of another part than its stage's. Nothing where its memory is not LibTorch's.
  void assign(const Tensor& tensor, MemoryPart part);

 private:
  class Reporter;
  struct Guard;
  std::shared_ptr<Reporter> reporter_;
  std::unique_ptr<Guard> guard_;
};

}  // namespace nibble::tensor
