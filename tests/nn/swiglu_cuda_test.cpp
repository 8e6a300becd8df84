// Units: nn/swiglu_cuda, nn/swiglu_launch. The kernels of SwiGLU against the CPU's loop, bit for bit.
#include <gtest/gtest.h>

#include <cmath>

#include "nn/swiglu.h"
#include "tests/nn/device_tensor.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

struct Case {
  int64_t rows, width, gap, offset;
};

class SwigluCuda : public test::DeviceTest, public testing::WithParamInterface<Case> {};
// Dense rows (one long row to the kernel), rows with gaps, unaligned ones, several rows to a block and several blocks to a row.
INSTANTIATE_TEST_SUITE_P(Shapes, SwigluCuda,
                         testing::Values(Case{1, 1, 0, 0}, Case{7, 9, 0, 0}, Case{5, 255, 1, 0}, Case{40, 64, 8, 0},
                                         Case{3, 1536, 0, 0}, Case{3, 1536, 1536, 0}, Case{2, 2049, 7, 8}, Case{2, 5000, 8, 3}));

SwigluLaunch forward_launch(const test::DeviceTensor& gate, const test::DeviceTensor& up, const test::DeviceTensor& out,
                            const Tensor& like) {
  SwigluLaunch launch{gate.data(), up.data(), out.data(), like.size(0), like.size(1), like.stride(0), like.stride(0), like.stride(0)};
  launch.is_bf16 = like.scalar_type() == at::kBFloat16;
  return launch;
}

SwigluGradLaunch backward_launch(const test::DeviceTensor& dout, const test::DeviceTensor& gate, const test::DeviceTensor& up,
                                 const test::DeviceTensor& dgate, const test::DeviceTensor& dup, const Tensor& like,
                                 const test::DeviceTensor* act = nullptr) {
  SwigluGradLaunch launch;
  launch.dout = dout.data();
  launch.gate = gate.data();
  launch.up = up.data();
  launch.dgate = dgate.data();
  launch.dup = dup.data();
  launch.act = act == nullptr ? nullptr : act->data();
  launch.rows = like.size(0);
  launch.width = like.size(1);
  launch.dout_stride = launch.gate_stride = launch.up_stride = launch.dgate_stride = launch.dup_stride = like.stride(0);
  launch.act_stride = like.stride(0);
  launch.is_bf16 = like.scalar_type() == at::kBFloat16;
  return launch;
}

TEST_P(SwigluCuda, EqualsTheCpu) {
  const auto [rows, width, gap, offset] = GetParam();
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const auto matrix = [&, rows = rows, width = width, gap = gap, offset = offset](uint64_t seed, double scale) {
      return test::strided_rows(test::random_tensor({rows, width}, seed, scale).to(dtype), gap, offset);
    };
    const Tensor gate = matrix(1, 8.0), up = matrix(2, 1.0), dout = matrix(3, 1.0);
    const Tensor out = matrix(4, 1.0), dgate = matrix(5, 1.0), dup = matrix(6, 1.0);
    const test::DeviceTensor d_gate(gate), d_up(up), d_dout(dout), d_out(out), d_dgate(dgate), d_dup(dup);
    test::nn_kernels().swiglu(forward_launch(d_gate, d_up, d_out, gate), nullptr);
    swiglu(gate, up, out);
    EXPECT_TRUE(test::same_storage(d_out.read(), out));
    test::nn_kernels().swiglu_backward(backward_launch(d_dout, d_gate, d_up, d_dgate, d_dup, gate), nullptr);
    swiglu_backward(dout, gate, up, dgate, dup);
    EXPECT_TRUE(test::same_storage(d_dgate.read(), dgate));
    EXPECT_TRUE(test::same_storage(d_dup.read(), dup));
    const Tensor act = matrix(7, 1.0);
    const test::DeviceTensor d_act(act);
    test::nn_kernels().swiglu_backward(backward_launch(d_dout, d_gate, d_up, d_dgate, d_dup, gate, &d_act), nullptr);
    swiglu(gate, up, act);
    EXPECT_TRUE(test::same_storage(d_act.read(), act));
  }
}

class SwigluCudaValues : public test::DeviceTest {};

TEST_F(SwigluCudaValues, OutputsMayBeInputs) {
  const Tensor gate = test::random_tensor({3, 700}, 1).to(at::kBFloat16), up = test::random_tensor({3, 700}, 2).to(at::kBFloat16);
  const Tensor dout = test::random_tensor({3, 700}, 3).to(at::kBFloat16);
  const test::DeviceTensor g(gate), u(up), d(dout), g2(gate), u2(up);
  test::nn_kernels().swiglu_backward(backward_launch(d, g, u, g, u, gate), nullptr);
  const Tensor dgate = at::empty_like(gate), dup = at::empty_like(up), out = at::empty_like(gate);
  swiglu_backward(dout, gate, up, dgate, dup);
  EXPECT_TRUE(at::equal(g.read(), dgate));
  EXPECT_TRUE(at::equal(u.read(), dup));
  test::nn_kernels().swiglu(forward_launch(g2, u2, u2, gate), nullptr);
  swiglu(gate, up, out);
  EXPECT_TRUE(at::equal(u2.read(), out));
  const test::DeviceTensor g3(gate), u3(up), d3(dout);
  test::nn_kernels().swiglu_backward(backward_launch(d3, g3, u3, g3, u3, gate, &d3), nullptr);
  EXPECT_TRUE(at::equal(g3.read(), dgate) && at::equal(u3.read(), dup) && at::equal(d3.read(), out));
}

// Every bf16 there is as a gate: infinities, denormals and not-a-number too.
TEST_F(SwigluCudaValues, EveryBfloat16GateEqualsTheCpu) {
  const Tensor bits = at::arange(-32768, 32768, at::kInt).to(at::kShort).view({16, 4096});
  const Tensor gate = bits.view(at::kBFloat16), up = at::full({16, 4096}, 3.0, gate.options()), out = at::empty_like(gate);
  const test::DeviceTensor g(gate), u(up), o(out);
  test::nn_kernels().swiglu(forward_launch(g, u, o, gate), nullptr);
  swiglu(gate, up, out);
  const Tensor got = o.read();
  EXPECT_TRUE(at::equal(at::isnan(got), at::isnan(out)));
  EXPECT_TRUE(at::equal(at::nan_to_num(got, 0.0), at::nan_to_num(out, 0.0)));
}

TEST_F(SwigluCudaValues, RefusesWhatItCannotLaunch) {
  SwigluLaunch forward;
  SwigluGradLaunch backward;
  EXPECT_NO_THROW(test::nn_kernels().swiglu(forward, nullptr));  // no rows
  EXPECT_NO_THROW(test::nn_kernels().swiglu_backward(backward, nullptr));
  forward.rows = backward.rows = 1;
  EXPECT_THROW(test::nn_kernels().swiglu(forward, nullptr), std::invalid_argument);
  EXPECT_THROW(test::nn_kernels().swiglu_backward(backward, nullptr), std::invalid_argument);
}

}  // namespace
}  // namespace nibble::nn
