#include "nn/swiglu.h"

#include "nn/rows.h"
#include "nn/swiglu_cpu.h"

namespace nibble::nn {
namespace {

template <class Element>
void forward(const Tensor& gate, const Tensor& up, const Tensor& out) {
  parallel_rows(gate.size(0), gate.size(1), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      swiglu_cpu(elements<Element>(gate) + r * gate.stride(0), elements<Element>(up) + r * up.stride(0),
                 elements<Element>(out) + r * out.stride(0), gate.size(1));
    }
  });
}

template <class Element>
void backward(const Tensor& dout, const Tensor& gate, const Tensor& up, const Tensor& dgate, const Tensor& dup,
              const Tensor& act) {
  parallel_rows(gate.size(0), gate.size(1), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      swiglu_backward_cpu(elements<Element>(dout) + r * dout.stride(0), elements<Element>(gate) + r * gate.stride(0),
                          elements<Element>(up) + r * up.stride(0), elements<Element>(dgate) + r * dgate.stride(0),
                          elements<Element>(dup) + r * dup.stride(0),
                          act.defined() ? elements<Element>(act) + r * act.stride(0) : nullptr, gate.size(1));
    }
  });
}

}  // namespace

void swiglu(const Tensor& gate, const Tensor& up, const Tensor& out) {
  const at::ScalarType dtype = expect_rows(gate, "gate");
  expect_rows_like(up, gate, "up");
  expect_rows_like(out, gate, "out");
  if (dtype == at::kFloat) {
    forward<float>(gate, up, out);
  } else {
    forward<uint16_t>(gate, up, out);
  }
}

void swiglu_backward(const Tensor& dout, const Tensor& gate, const Tensor& up, const Tensor& dgate, const Tensor& dup,
                     const Tensor& act) {
  const at::ScalarType dtype = expect_rows(gate, "gate");
  expect_rows_like(dout, gate, "dout");
  expect_rows_like(up, gate, "up");
  expect_rows_like(dgate, gate, "dgate");
  expect_rows_like(dup, gate, "dup");
  if (act.defined()) expect_rows_like(act, gate, "act");
  if (dtype == at::kFloat) {
    backward<float>(dout, gate, up, dgate, dup, act);
  } else {
    backward<uint16_t>(dout, gate, up, dgate, dup, act);
  }
}

}  // namespace nibble::nn
