// Where a model and its passes live: the CPU, or a device with the queue that work on it goes through.
#pragma once

#include "gpu/module.h"
#include "tensor/torch.h"

namespace nibble::nn {

struct Place {
  at::Device device = at::kCPU;  // of every tensor
  gpu::Queue queue;              // empty: the CPU. LibTorch's own work goes to the same stream

  at::TensorOptions options(at::ScalarType dtype) const { return at::TensorOptions().device(device).dtype(dtype); }
};

}  // namespace nibble::nn
