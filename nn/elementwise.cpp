#include "nn/elementwise.h"

#include <stdexcept>

#include "nn/cuda_table.h"

namespace nibble::nn {

void add_scaled(const Tensor& y, const Tensor& x, float scale, const gpu::Queue& queue) {
  if (!queue) {
    y.add_(x, scale);
    return;
  }
  const auto is_bf16 = [](const Tensor& t) { return t.scalar_type() == at::kBFloat16; };
  const auto has_kernel = [&](const Tensor& t) { return t.is_contiguous() && (is_bf16(t) || t.scalar_type() == at::kFloat); };
  if (x.sizes() != y.sizes() || !has_kernel(x) || !has_kernel(y) || (is_bf16(y) && !is_bf16(x))) {
    throw std::logic_error("add_scaled on a device takes contiguous bf16 or fp32 of one shape, and no fp32 into bf16");
  }
  queue.module->nn->add_scaled({y.data_ptr(), x.data_ptr(), scale, y.numel(), is_bf16(y), is_bf16(x)}, queue.stream);
}

}  // namespace nibble::nn
