// Tensors in the emulated device's memory, where access out of bounds is found (tests/emulator/emulator.h). To LibTorch they
// are CPU tensors.
#pragma once

#include <algorithm>
#include <cstring>

#include "gpu/runtime_table.h"
#include "tensor/torch.h"
#include "tests/emulator/emulator.h"

namespace nibble::test {

// Uninitialized: floats are NaN. Not empty.
inline Tensor device_empty(at::IntArrayRef sizes, at::ScalarType dtype) {
  const gpu::RuntimeTable* runtime = emulated_module()->runtime;
  int64_t count = 1;
  for (int64_t size : sizes) count *= size;
  void* data = runtime->allocate(count * static_cast<int64_t>(c10::elementSize(dtype)));
  return at::from_blob(data, sizes, [runtime](void* p) { runtime->release(p); }, at::TensorOptions().dtype(dtype));
}

// A contiguous copy.
inline Tensor to_device(const Tensor& t) {
  const Tensor copy = device_empty(t.sizes(), t.scalar_type());
  copy.copy_(t);
  return copy;
}

}  // namespace nibble::test
