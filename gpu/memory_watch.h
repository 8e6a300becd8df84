// How much of a device's memory a run takes, as the driver counts it: what was free when the watch began minus what is free now.
//
// That is everything that was allocated since: arenas, LibTorch's cache, workspaces of libraries, kernels that were loaded. It is
// not the CUDA context, which is there before memory can be asked for (300 to 500 MiB, `nvidia-smi` shows it), and where other
// programs use the card it is theirs too.
#pragma once

#include <cstdint>

#include "gpu/module.h"

namespace nibble::gpu {

class MemoryWatch {
 public:
  // An empty queue: all numbers are 0. THROWS CudaError
  explicit MemoryWatch(const Queue& queue);

  // Asks the driver, and remembers the largest answer; costs some microseconds and waits for nothing. -> bytes in use now.
  // Who allocates keeps what it has, so that asking once a step finds the peak of the step. THROWS CudaError
  int64_t look();

  int64_t peak_bytes() const { return peak_; }  // of all looks

 private:
  const RuntimeTable* runtime_ = nullptr;
  int64_t free_before_ = 0;
  int64_t peak_ = 0;
};

}  // namespace nibble::gpu
