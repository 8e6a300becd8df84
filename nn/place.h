// Where a model and its passes live: the CPU, or a device with the queue that work on it goes through.
#pragma once

#include "core/memory_account.h"
#include "gpu/module.h"
#include "tensor/torch.h"

namespace nibble::nn {

struct Place {
  at::Device device = at::kCPU;  // of every tensor
  gpu::Queue queue;              // empty: the CPU. LibTorch's own work goes to the same stream
  MemoryAccount* account = nullptr;  // who is told what memory is taken here; outlives what is made here. May be null

  at::TensorOptions options(at::ScalarType dtype) const { return at::TensorOptions().device(device).dtype(dtype); }
  // Where memory that is taken here lies.
  MemorySide side() const { return queue ? MemorySide::kDevice : MemorySide::kHost; }
};

}  // namespace nibble::nn
