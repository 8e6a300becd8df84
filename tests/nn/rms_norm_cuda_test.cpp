// Units: nn/rms_norm_cuda. The kernels of RMSNorm against the CPU's loop.
#include <gtest/gtest.h>

#include "nn/rms_norm.h"
#include "tests/nn/device_tensor.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

constexpr double kEps = 1e-5;
constexpr double kU = 0x1p-24;

struct Problem {
  Tensor x, delta, weight, dy;
};

// `gap` elements between rows, `offset` before the first.
Problem problem(int64_t rows, int64_t width, at::ScalarType dtype, int64_t gap, int64_t offset) {
  const auto matrix = [&](uint64_t seed, double scale) {
    return test::strided_rows(test::random_tensor({rows, width}, seed, scale).to(dtype), gap, offset);
  };
  return {matrix(1, 2.0), matrix(2, 1.0), (test::random_tensor({width}, 3, 0.3) + 1.0).to(dtype), matrix(4, 1.0)};
}

RmsNormLaunch forward_launch(const test::DeviceTensor& x, const test::DeviceTensor* delta, const test::DeviceTensor& weight,
                             const test::DeviceTensor& y, const test::DeviceTensor* rstd, const Problem& p) {
  RmsNormLaunch launch;
  launch.rows = {x.data(), delta == nullptr ? nullptr : delta->data(), weight.data(), y.data(),
                 rstd == nullptr ? nullptr : rstd->as<float>(), p.x.stride(0), p.delta.stride(0), p.x.stride(0), p.x.size(1), kEps};
  launch.count = p.x.size(0);
  launch.is_bf16 = p.x.scalar_type() == at::kBFloat16;
  return launch;
}

// Two sums of n terms in different orders, each within its bound: the kernel's, and the CPU's lanes of n / 32 terms.
double sum_error(int64_t n) { return kU * (12.0 + static_cast<double>(n) / 32 + static_cast<double>(n) / 4096 + 8.0); }

// fp32: within `error` of what is expected. bf16: a rounding turned here and there, by one step.
void expect_close(const Tensor& got, const Tensor& expected, const Tensor& error) {
  const Tensor difference = (got.to(at::kDouble) - expected.to(at::kDouble)).abs();
  if (expected.scalar_type() == at::kFloat) {
    EXPECT_TRUE(difference.le(error).all().item<bool>()) << "by up to " << difference.max().item<double>();
    return;
  }
  EXPECT_LE(difference.ne(0).sum().item<int64_t>(), 1 + got.numel() / 1000);
  EXPECT_TRUE(difference.le(error + 0x1p-7 * expected.to(at::kDouble).abs()).all().item<bool>());
}

struct Case {
  int64_t rows, width, gap, offset;
};
class RmsNormCuda : public test::DeviceTest, public testing::WithParamInterface<Case> {};
// Narrow rows of groups of 4 to 32 lanes and wide ones of 64 to 512 threads; more rows than a block takes; rows that are
// aligned, not aligned, and aligned but of an odd width; rows wider than registers hold.
INSTANTIATE_TEST_SUITE_P(
    Shapes, RmsNormCuda,
    testing::Values(Case{3, 1, 0, 0}, Case{300, 8, 0, 0}, Case{5, 31, 1, 3}, Case{70, 64, 0, 0}, Case{67, 80, 0, 8},
                    Case{35, 128, 64, 0}, Case{9, 128, 1, 0}, Case{33, 256, 0, 0}, Case{5, 257, 7, 0}, Case{4, 576, 0, 0},
                    Case{3, 576, 0, 1}, Case{2, 2085, 3, 0}, Case{3, 4096, 0, 0}, Case{2, 16384, 0, 0}, Case{2, 16397, 3, 8},
                    Case{1, 20000, 0, 0}));

TEST_P(RmsNormCuda, ForwardEqualsTheCpu) {
  const auto [rows, width, gap, offset] = GetParam();
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Problem p = problem(rows, width, dtype, gap, offset);
    for (const bool add : {false, true}) {
      const Tensor x = test::clone_storage(p.x), y = test::clone_storage(p.dy), rstd = at::empty({rows}, at::kFloat);
      const test::DeviceTensor dx(x), ddelta(p.delta), dweight(p.weight), dy(y), drstd(rstd);
      test::nn_kernels().rms_norm(forward_launch(dx, add ? &ddelta : nullptr, dweight, dy, &drstd, p), nullptr);
      if (add) {
        add_rms_norm(x, p.delta, p.weight, kEps, y, rstd);
      } else {
        rms_norm(x, p.weight, kEps, y, rstd);
      }
      EXPECT_TRUE(test::same_storage(dx.read(), x));
      const double error = sum_error(width);  // halved by the root, and for y a few roundings more
      expect_close(drstd.read(), rstd, rstd.to(at::kDouble).abs() * error);
      expect_close(dy.read(), y, y.to(at::kDouble).abs() * (error + 4 * kU));
      const Tensor outside = dy.read();
      outside.copy_(y);
      EXPECT_TRUE(test::same_storage(outside, y)) << "written outside the rows";
    }
  }
}

TEST_P(RmsNormCuda, BackwardEqualsTheCpu) {
  const auto [rows, width, gap, offset] = GetParam();
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Problem p = problem(rows, width, dtype, gap, offset);
    const Tensor y = at::empty({rows, width}, p.x.options()), rstd = at::empty({rows}, at::kFloat);
    rms_norm(p.x, p.weight, kEps, y, rstd);
    for (const bool accumulate : {false, true}) {
      const Tensor dx = test::clone_storage(p.delta);
      const test::DeviceTensor d_dy(p.dy), d_x(p.x), d_weight(p.weight), d_rstd(rstd), d_dx(dx);
      RmsNormGradLaunch launch;
      launch.rows = {d_dy.data(), d_x.data(), d_weight.data(), d_rstd.as<float>(), d_dx.data(), p.dy.stride(0), p.x.stride(0),
                     dx.stride(0), width, accumulate};
      launch.count = rows;
      launch.is_bf16 = dtype == at::kBFloat16;
      test::nn_kernels().rms_norm_backward(launch, nullptr);
      rms_norm_backward(p.dy, p.x, p.weight, rstd, dx, accumulate);
      // dx = rstd (g - x factor): the factor's error is that of a sum of terms g x, then a few roundings of each term.
      const Tensor g = (p.dy.to(at::kDouble) * p.weight.to(at::kDouble)).abs(), x = p.x.to(at::kDouble).abs();
      const Tensor r = rstd.to(at::kDouble).unsqueeze(1);
      const Tensor size = (g * x).sum(1, true) * r.pow(2) / static_cast<double>(width);
      const Tensor error = r * x * size * sum_error(width) + 6 * kU * (r * (g + x * size) + dx.to(at::kDouble).abs());
      expect_close(d_dx.read(), dx, error);
      const Tensor outside = d_dx.read();
      outside.copy_(dx);
      EXPECT_TRUE(test::same_storage(outside, dx)) << "written outside the rows";
    }
  }
}

class RmsNormCudaInPlace : public test::DeviceTest {};

TEST_F(RmsNormCudaInPlace, OutputsMayBeInputs) {
  for (const int64_t width : {64, 576, 20000}) {
    const Problem p = problem(5, width, at::kBFloat16, 0, 0);
    const test::DeviceTensor x(p.x), y(p.x), weight(p.weight), rstd(at::zeros({5}, at::kFloat));
    test::nn_kernels().rms_norm(forward_launch(x, nullptr, weight, y, &rstd, p), nullptr);
    const test::DeviceTensor same(p.x), dx(p.dy), dy(p.dy);
    test::nn_kernels().rms_norm(forward_launch(same, nullptr, weight, same, nullptr, p), nullptr);
    EXPECT_TRUE(at::equal(same.read(), y.read()));
    RmsNormGradLaunch launch;
    launch.rows = {dy.data(), x.data(), weight.data(), rstd.as<float>(), dx.data(), width, width, width, width, false};
    launch.count = 5;
    test::nn_kernels().rms_norm_backward(launch, nullptr);
    launch.rows.dx = dy.data();
    test::nn_kernels().rms_norm_backward(launch, nullptr);
    EXPECT_TRUE(at::equal(dy.read(), dx.read()));
  }
}

TEST_F(RmsNormCudaInPlace, NotANumberStaysInItsRow) {
  for (const int64_t width : {64, 1024}) {
    const Problem p = problem(6, width, at::kBFloat16, 0, 0);
    p.x[2][7].fill_(NAN);
    const test::DeviceTensor x(p.x), weight(p.weight), y(p.dy);
    test::nn_kernels().rms_norm(forward_launch(x, nullptr, weight, y, nullptr, p), nullptr);
    EXPECT_TRUE(at::equal(at::isnan(y.read()).all(1).to(at::kInt), at::tensor({0, 0, 1, 0, 0, 0}, at::kInt)));
    EXPECT_EQ(at::isnan(y.read()).sum().item<int64_t>(), width);
  }
}

TEST_F(RmsNormCudaInPlace, RefusesWhatItCannotLaunch) {
  RmsNormLaunch forward;
  RmsNormGradLaunch backward;
  EXPECT_NO_THROW(test::nn_kernels().rms_norm(forward, nullptr));  // no rows
  EXPECT_NO_THROW(test::nn_kernels().rms_norm_backward(backward, nullptr));
  forward.count = backward.count = 1;
  EXPECT_THROW(test::nn_kernels().rms_norm(forward, nullptr), std::invalid_argument);
  EXPECT_THROW(test::nn_kernels().rms_norm_backward(backward, nullptr), std::invalid_argument);
}

}  // namespace
}  // namespace nibble::nn
