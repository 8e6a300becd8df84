#include "nn/rms_norm.h"

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
void forward(const Tensor& x, const Tensor& delta, const Tensor& weight, double eps, const Tensor& y, const Tensor& rstd) {
  const bool add = delta.defined();
  const RmsNormRows<Element> rows{elements<Element>(x), add ? elements<Element>(delta) : nullptr, elements<Element>(weight),
                                  elements<Element>(y), rstd.defined() ? elements<float>(rstd) : nullptr, x.stride(0),
                                  add ? delta.stride(0) : 0, y.stride(0), x.size(1), eps};
  parallel_rows(x.size(0), x.size(1), [&](int64_t begin, int64_t end) { rms_norm_cpu(rows, begin, end); });
}

template <class Element>
void backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd, const Tensor& dx, bool accumulate) {
  const RmsNormGradRows<Element> rows{elements<Element>(dy), elements<Element>(x), elements<Element>(weight),
                                      elements<float>(rstd), elements<Element>(dx), dy.stride(0), x.stride(0), dx.stride(0),
                                      x.size(1), accumulate};
  parallel_rows(x.size(0), x.size(1), [&](int64_t begin, int64_t end) { rms_norm_backward_cpu(rows, begin, end); });
}

void run(const Tensor& x, const Tensor& delta, const Tensor& weight, double eps, const Tensor& y, const Tensor& rstd) {
  const at::ScalarType dtype = expect_rows(x, "x");
  expect_rows_like(y, x, "y");
  if (delta.defined()) expect_rows_like(delta, x, "delta");
  expect_weight_and_rstd(x, weight, rstd);
  if (dtype == at::kFloat) {
    forward<float>(x, delta, weight, eps, y, rstd);
  } else {
    forward<uint16_t>(x, delta, weight, eps, y, rstd);
  }
}

}  // namespace

void rms_norm(const Tensor& x, const Tensor& weight, double eps, const Tensor& y, const Tensor& rstd) {
  run(x, Tensor(), weight, eps, y, rstd);
}

void add_rms_norm(const Tensor& x, const Tensor& delta, const Tensor& weight, double eps, const Tensor& y,
                  const Tensor& rstd) {
  if (!delta.defined()) throw std::logic_error("add_rms_norm: delta is undefined");
  run(x, delta, weight, eps, y, rstd);
}

void rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd, const Tensor& dx,
                       bool accumulate) {
  const at::ScalarType dtype = expect_rows(x, "x");
  expect_rows_like(dy, x, "dy");
  expect_rows_like(dx, x, "dx");
  if (!rstd.defined()) throw std::logic_error("rms_norm_backward: rstd is undefined; forward was told not to keep it");
  expect_weight_and_rstd(x, weight, rstd);
  if (dtype == at::kFloat) {
    backward<float>(dy, x, weight, rstd, dx, accumulate);
  } else {
    backward<uint16_t>(dy, x, weight, rstd, dx, accumulate);
  }
}

}  // namespace nibble::nn
