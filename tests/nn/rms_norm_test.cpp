#include "nn/rms_norm.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

constexpr double kEps = 1e-5;

// transformers' LlamaRMSNorm, differentiable.
Tensor compose(const Tensor& x, const Tensor& weight) {
  const at::ScalarType math = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor wide = x.to(math);
  const Tensor normed = wide * at::rsqrt(wide.pow(2).mean(-1, true) + kEps);
  return weight * normed.to(x.scalar_type());
}

struct Problem {
  Tensor x, weight, dy;
};

Problem problem(int64_t rows, int64_t width, at::ScalarType dtype) {
  return {test::random_tensor({rows, width}, 1, 2.0).to(dtype), (test::random_tensor({width}, 2, 0.3) + 1.0).to(dtype),
          test::random_tensor({rows, width}, 3).to(dtype)};
}

Tensor gradient(const Problem& p, at::ScalarType dtype) {
  const Tensor x = p.x.detach().to(dtype, false, true).set_requires_grad(true);
  compose(x, p.weight.to(dtype)).backward(p.dy.to(dtype));
  return x.grad();
}

double rms(const Tensor& a, const Tensor& b) { return (a.to(at::kDouble) - b.to(at::kDouble)).pow(2).mean().sqrt().item<double>(); }

class Widths : public testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(RmsNorm, Widths, testing::Values(1, 2, 16, 31, 32, 33, 64, 127, 576, 2085));

TEST_P(Widths, Fp32EqualsTheCompositionInDouble) {
  const Problem p = problem(7, GetParam(), at::kFloat);
  Tensor y = at::empty_like(p.x), rstd = at::empty({7}, at::kFloat), dx = at::empty_like(p.x);
  rms_norm(p.x, p.weight, kEps, y, rstd);
  rms_norm_backward(p.dy, p.x, p.weight, rstd, dx, false);
  // Policy (b): n / 32 + 32 additions a sum, a handful of roundings after it.
  const double bound = 0x1p-24 * (16.0 + static_cast<double>(GetParam()) / 32) * 8;
  const Tensor exact = compose(p.x.to(at::kDouble), p.weight.to(at::kDouble)), exact_dx = gradient(p, at::kDouble);
  EXPECT_LT((y - exact).abs().max().item<double>(), bound);
  // With one element dx = dy rstd eps / (x^2 + eps): what is left of a difference of two terms of size dy rstd.
  const double size = (rstd.max() * p.dy.abs().max() * p.weight.abs().max()).item<double>();
  EXPECT_LT((dx - exact_dx).abs().max().item<double>(), bound * (1.0 + 3 * size));
}

TEST_P(Widths, Bfloat16ForwardRoundsAsTheComposition) {
  const Problem p = problem(9, GetParam(), at::kBFloat16);
  Tensor y = at::empty_like(p.x), rstd = at::empty({9}, at::kFloat);
  rms_norm(p.x, p.weight, kEps, y, rstd);
  const Tensor expected = compose(p.x, p.weight);
  // The statistics' last bit depends on the order of summation and may turn a rounding here and there.
  EXPECT_LE((y != expected).sum().item<int64_t>(), 1 + y.numel() / 500);
  EXPECT_LE(rms(y, expected), 0x1p-9 * expected.to(at::kDouble).abs().max().item<double>());
}

TEST_P(Widths, Bfloat16BackwardIsAsGoodAsTheComposition) {
  const Problem p = problem(9, GetParam(), at::kBFloat16);
  Tensor y = at::empty_like(p.x), rstd = at::empty({9}, at::kFloat), dx = at::empty_like(p.x);
  rms_norm(p.x, p.weight, kEps, y, rstd);
  rms_norm_backward(p.dy, p.x, p.weight, rstd, dx, false);
  const Tensor exact = gradient(p, at::kDouble);
  const double scale = (rstd.max() * p.dy.abs().max()).item<double>();
  EXPECT_LE(rms(dx, exact), 2 * rms(gradient(p, at::kBFloat16), exact) + 0x1p-24 * scale);  // policy (c)
  Tensor sum = p.dy.clone();
  rms_norm_backward(p.dy, p.x, p.weight, rstd, sum, true);
  EXPECT_LE(rms(sum, p.dy + dx), 0x1p-7 * scale * p.weight.abs().max().item<double>() + 0x1p-9);
}

TEST(RmsNorm, AccumulateAddsToWhatIsThere) {
  const Problem p = problem(5, 40, at::kFloat);
  Tensor y = at::empty_like(p.x), rstd = at::empty({5}, at::kFloat), dx = at::empty_like(p.x), sum = p.x.clone();
  rms_norm(p.x, p.weight, kEps, y, rstd);
  rms_norm_backward(p.dy, p.x, p.weight, rstd, dx, false);
  rms_norm_backward(p.dy, p.x, p.weight, rstd, sum, true);
  EXPECT_TRUE(at::equal(sum, p.x + dx));
  Tensor in_place = p.dy.clone();
  rms_norm_backward(in_place, p.x, p.weight, rstd, in_place, false);
  EXPECT_TRUE(at::equal(in_place, dx));
}

TEST(RmsNorm, AddRmsNormIsAddThenNorm) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Problem p = problem(6, 50, dtype);
    Tensor y = at::empty_like(p.x), rstd = at::empty({6}, at::kFloat), y2 = at::empty_like(p.x), rstd2 = at::empty({6}, at::kFloat);
    Tensor x = p.x.clone();
    add_rms_norm(x, p.dy, p.weight, kEps, y, rstd);
    EXPECT_TRUE(at::equal(x, p.x + p.dy));
    rms_norm(p.x + p.dy, p.weight, kEps, y2, rstd2);
    EXPECT_TRUE(at::equal(y, y2));
    EXPECT_TRUE(at::equal(rstd, rstd2));
  }
}

TEST(RmsNorm, AcceptsStridedRowsAndNoRstd) {
  const Problem p = problem(8, 24, at::kBFloat16);
  const Tensor wide = at::full({8, 100}, NAN, p.x.options());
  const Tensor x = wide.narrow(1, 3, 24);
  x.copy_(p.x);
  Tensor y = at::empty_like(p.x), expected = at::empty_like(p.x);
  rms_norm(p.x, p.weight, kEps, expected, Tensor());
  rms_norm(x, p.weight, kEps, x, Tensor());
  EXPECT_TRUE(at::equal(x, expected));
}

TEST(RmsNorm, DoesNotDependOnTheNumberOfThreads) {
  const int before = at::get_num_threads();
  const Problem p = problem(301, 576, at::kBFloat16);
  std::vector<Tensor> results;
  for (int threads : {1, 2, 5}) {
    at::set_num_threads(threads);
    Tensor y = at::empty_like(p.x), rstd = at::empty({301}, at::kFloat), dx = at::empty_like(p.x);
    rms_norm(p.x, p.weight, kEps, y, rstd);
    rms_norm_backward(p.dy, p.x, p.weight, rstd, dx, false);
    results.push_back(at::cat({y, dx}));
    EXPECT_TRUE(at::equal(results.front(), results.back())) << threads;
  }
  at::set_num_threads(before);
}

TEST(RmsNorm, RefusesOtherShapesAndDtypes) {
  const Problem p = problem(4, 16, at::kFloat);
  Tensor y = at::empty_like(p.x), rstd = at::empty({4}, at::kFloat);
  EXPECT_THROW(rms_norm(p.x, p.weight.narrow(0, 0, 8), kEps, y, rstd), std::logic_error);
  EXPECT_THROW(rms_norm(p.x, p.weight.to(at::kBFloat16), kEps, y, rstd), std::logic_error);
  EXPECT_THROW(rms_norm(p.x, p.weight, kEps, y.narrow(0, 0, 3), rstd), std::logic_error);
  EXPECT_THROW(rms_norm(p.x, p.weight, kEps, y, rstd.to(at::kDouble)), std::logic_error);
  EXPECT_THROW(rms_norm(p.x.t(), p.weight, kEps, y, rstd), std::logic_error);
  EXPECT_THROW(rms_norm(p.x.to(at::kHalf), p.weight.to(at::kHalf), kEps, y.to(at::kHalf), rstd), std::logic_error);
  EXPECT_THROW(rms_norm_backward(p.dy, p.x, p.weight, Tensor(), y, false), std::logic_error);
  EXPECT_THROW(add_rms_norm(p.x, Tensor(), p.weight, kEps, y, rstd), std::logic_error);
}

}  // namespace
}  // namespace nibble::nn
