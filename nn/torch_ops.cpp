#include "nn/torch_ops.h"

#include "gpu/in_order.h"
#include "nn/amx_product.h"

namespace nibble::nn {

void matmul(const Tensor& a, const Tensor& b, const Tensor& out, const gpu::Queue& queue) {
  gpu::in_order(queue, [a, b, out = out]() mutable {
    if (!amx_matmul({}, a, b, out, 0.0f, 1.0f)) at::mm_out(out, a, b);
  });
}

void add_matmul(const Tensor& c, const Tensor& a, const Tensor& b, const Tensor& out, const gpu::Queue& queue, float beta,
                float alpha) {
  gpu::in_order(queue, [c, a, b, out = out, beta, alpha]() mutable {
    if (!amx_matmul(c, a, b, out, beta, alpha)) at::addmm_out(out, c, a, b, beta, alpha);
  });
}

void copy_into(const Tensor& from, const Tensor& to, const gpu::Queue& queue) {
  gpu::in_order(queue, [from, to] { to.copy_(from); });
}

void add_into(const Tensor& from, const Tensor& to, const gpu::Queue& queue) {
  gpu::in_order(queue, [from, to] { to.add_(from); });
}

void fill_zero(const Tensor& t, const gpu::Queue& queue) {
  gpu::in_order(queue, [t] { t.zero_(); });
}

}  // namespace nibble::nn
