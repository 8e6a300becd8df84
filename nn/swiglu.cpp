#include "nn/swiglu.h"

#include "nn/cuda_table.h"
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

void swiglu(const Tensor& gate, const Tensor& up, const Tensor& out, const gpu::Queue& queue) {
  const at::ScalarType dtype = expect_rows(gate, "gate");
  expect_rows_like(up, gate, "up");
  expect_rows_like(out, gate, "out");
  if (queue) {
    queue.module->nn->swiglu({gate.data_ptr(), up.data_ptr(), out.data_ptr(), gate.size(0), gate.size(1), gate.stride(0),
                              up.stride(0), out.stride(0), dtype == at::kBFloat16}, queue.stream);
  } else if (dtype == at::kFloat) {
    forward<float>(gate, up, out);
  } else {
    forward<uint16_t>(gate, up, out);
  }
}

void swiglu_backward(const Tensor& dout, const Tensor& gate, const Tensor& up, const Tensor& dgate, const Tensor& dup,
                     const Tensor& act, const gpu::Queue& queue) {
  const at::ScalarType dtype = expect_rows(gate, "gate");
  expect_rows_like(dout, gate, "dout");
  expect_rows_like(up, gate, "up");
  expect_rows_like(dgate, gate, "dgate");
  expect_rows_like(dup, gate, "dup");
  if (act.defined()) expect_rows_like(act, gate, "act");
  if (queue) {
    queue.module->nn->swiglu_backward(
        {dout.data_ptr(), gate.data_ptr(), up.data_ptr(), dgate.data_ptr(), dup.data_ptr(),
         act.defined() ? act.data_ptr() : nullptr, gate.size(0), gate.size(1), dout.stride(0), gate.stride(0), up.stride(0),
         dgate.stride(0), dup.stride(0), act.defined() ? act.stride(0) : 0, dtype == at::kBFloat16}, queue.stream);
  } else if (dtype == at::kFloat) {
    backward<float>(dout, gate, up, dgate, dup, act);
  } else {
    backward<uint16_t>(dout, gate, up, dgate, dup, act);
  }
}

}  // namespace nibble::nn
