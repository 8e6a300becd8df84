#include "nn/rms_norm.h"

#include "nn/cuda_table.h"
#include "nn/rms_norm_cpu.h"
#include "nn/rows.h"

namespace nibble::nn {
namespace {

void expect_weight_and_rstd(const Tensor& x, const Tensor& weight, const Tensor& rstd) {
  tensor::expect_shape(weight, {x.size(1)}, "weight");
  expect_contiguous(weight, x.scalar_type(), "weight");
  if (!rstd.defined()) return;
  tensor::expect_shape(rstd, {x.size(0)}, "rstd");
  expect_contiguous(rstd, at::kFloat, "rstd");
}

template <class Element>
RmsNormRows<Element> forward_rows(const Tensor& x, const Tensor& delta, const Tensor& weight, double eps, const Tensor& y,
                                  const Tensor& rstd) {
  const bool add = delta.defined();
  return {elements<Element>(x), add ? elements<Element>(delta) : nullptr, elements<Element>(weight), elements<Element>(y),
          rstd.defined() ? elements<float>(rstd) : nullptr, x.stride(0), add ? delta.stride(0) : 0, y.stride(0), x.size(1), eps};
}

template <class Element>
RmsNormGradRows<Element> backward_rows(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd,
                                       const Tensor& dx, bool accumulate) {
  return {elements<Element>(dy), elements<Element>(x), elements<Element>(weight), elements<float>(rstd), elements<Element>(dx),
          dy.stride(0), x.stride(0), dx.stride(0), x.size(1), accumulate};
}

template <class Element>
void run_forward(const RmsNormRows<Element>& rows, int64_t count) {
  parallel_rows(count, rows.width, [&](int64_t begin, int64_t end) { rms_norm_cpu(rows, begin, end); });
}

template <class Element>
void run_backward(const RmsNormGradRows<Element>& rows, int64_t count) {
  parallel_rows(count, rows.width, [&](int64_t begin, int64_t end) { rms_norm_backward_cpu(rows, begin, end); });
}

void run(const Tensor& x, const Tensor& delta, const Tensor& weight, double eps, const Tensor& y, const Tensor& rstd,
         const gpu::Queue& queue) {
  const at::ScalarType dtype = expect_rows(x, "x");
  expect_rows_like(y, x, "y");
  if (delta.defined()) expect_rows_like(delta, x, "delta");
  expect_weight_and_rstd(x, weight, rstd);
  if (queue) {
    queue.module->nn->rms_norm({forward_rows<void>(x, delta, weight, eps, y, rstd), x.size(0), dtype == at::kBFloat16}, queue.stream);
  } else if (dtype == at::kFloat) {
    run_forward(forward_rows<float>(x, delta, weight, eps, y, rstd), x.size(0));
  } else {
    run_forward(forward_rows<uint16_t>(x, delta, weight, eps, y, rstd), x.size(0));
  }
}

}  // namespace

void rms_norm(const Tensor& x, const Tensor& weight, double eps, const Tensor& y, const Tensor& rstd, const gpu::Queue& queue) {
  run(x, Tensor(), weight, eps, y, rstd, queue);
}

void add_rms_norm(const Tensor& x, const Tensor& delta, const Tensor& weight, double eps, const Tensor& y,
                  const Tensor& rstd, const gpu::Queue& queue) {
  if (!delta.defined()) throw std::logic_error("add_rms_norm: delta is undefined");
  run(x, delta, weight, eps, y, rstd, queue);
}

void rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd, const Tensor& dx,
                       bool accumulate, const gpu::Queue& queue) {
  const at::ScalarType dtype = expect_rows(x, "x");
  expect_rows_like(dy, x, "dy");
  expect_rows_like(dx, x, "dx");
  if (!rstd.defined()) throw std::logic_error("rms_norm_backward: rstd is undefined; forward was told not to keep it");
  expect_weight_and_rstd(x, weight, rstd);
  if (queue) {
    queue.module->nn->rms_norm_backward({backward_rows<void>(dy, x, weight, rstd, dx, accumulate), x.size(0), dtype == at::kBFloat16},
                                        queue.stream);
  } else if (dtype == at::kFloat) {
    run_backward(backward_rows<float>(dy, x, weight, rstd, dx, accumulate), x.size(0));
  } else {
    run_backward(backward_rows<uint16_t>(dy, x, weight, rstd, dx, accumulate), x.size(0));
  }
}

}  // namespace nibble::nn
