#include "io/passing_tensor.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>

#include "core/error.h"

namespace nibble::io {

Tensor passing_tensor(at::IntArrayRef shape, at::ScalarType dtype) {
  size_t bytes = c10::elementSize(dtype);
  for (const int64_t n : shape) bytes *= static_cast<size_t>(n);
  const size_t mapped = std::max<size_t>(bytes, 1);
  void* data = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) throw OutOfMemoryError(fmt::format("no memory for a weight of {} bytes", bytes));
  return at::from_blob(data, shape, [mapped](void* memory) { ::munmap(memory, mapped); }, at::TensorOptions().dtype(dtype));
}

}  // namespace nibble::io
