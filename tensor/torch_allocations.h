// How often LibTorch allocates memory on one kind of device while this lives: nothing may where work is recorded that will be
// repeated with the same addresses. As tensor/torch_memory.h, it is told by LibTorch's allocators of what this thread does.
#pragma once

#include <cstdint>
#include <memory>

#include "tensor/torch.h"

namespace nibble::tensor {

class TorchAllocations {
 public:
  explicit TorchAllocations(at::DeviceType device);
  TorchAllocations(const TorchAllocations&) = delete;
  ~TorchAllocations();

  int64_t count() const;

 private:
  class Reporter;
  struct Guard;
  std::shared_ptr<Reporter> reporter_;
  std::unique_ptr<Guard> guard_;
};

}  // namespace nibble::tensor
