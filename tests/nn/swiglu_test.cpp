#include "nn/swiglu.h"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "nn/swiglu_math.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

struct Gradients {
  Tensor out, dgate, dup;
};

Gradients run(const Tensor& gate, const Tensor& up, const Tensor& dout) {
  Gradients g{at::empty_like(gate), at::empty_like(gate), at::empty_like(gate)};
  swiglu(gate, up, g.out);
  swiglu_backward(dout, gate, up, g.dgate, g.dup);
  return g;
}

Gradients compose(const Tensor& gate, const Tensor& up, const Tensor& dout, at::ScalarType dtype) {
  const Tensor g = gate.detach().to(dtype, false, true).set_requires_grad(true), u = up.detach().to(dtype, false, true).set_requires_grad(true);
  const Tensor out = at::silu(g) * u;
  out.backward(dout.to(dtype));
  return {out.detach(), g.grad(), u.grad()};
}

double max_error(const Tensor& a, const Tensor& b) { return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>(); }
double rms(const Tensor& a, const Tensor& b) { return (a.to(at::kDouble) - b.to(at::kDouble)).pow(2).mean().sqrt().item<double>(); }

TEST(SiluParts, AreWithinFourUlpOfDouble) {
  for (double x = -86.0; x <= 90.0; x += 0.0173) {
    const auto f = static_cast<float>(x);
    const SiluParts parts = silu_parts(f);
    const double sigmoid = 1.0 / (1.0 + std::exp(-static_cast<double>(f)));
    EXPECT_NEAR(parts.sigmoid, sigmoid, 4 * 0x1p-24 * 2 * sigmoid) << x;
    EXPECT_NEAR(parts.silu, f * sigmoid, 4 * 0x1p-24 * 2 * std::abs(f * sigmoid)) << x;
  }
  EXPECT_EQ(silu_parts(0.0f).silu, 0.0f);
  EXPECT_EQ(silu_parts(1e30f).silu, 1e30f);
  EXPECT_EQ(silu_parts(-1e30f).silu, 0.0f);
  EXPECT_TRUE(std::isnan(silu_parts(NAN).silu));
}

class Sizes : public testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(Swiglu, Sizes, testing::Values(1, 15, 16, 33, 255, 256, 257, 1536));

TEST_P(Sizes, Fp32EqualsAutogradInDouble) {
  const Tensor gate = test::random_tensor({5, GetParam()}, 1, 4.0), up = test::random_tensor({5, GetParam()}, 2), dout = test::random_tensor({5, GetParam()}, 3);
  const Gradients got = run(gate, up, dout), exact = compose(gate, up, dout, at::kDouble);
  // Policy (b): about ten roundings of products of at most 20 * 6 * 6.
  const double bound = 10 * 0x1p-24 * 100;
  EXPECT_LT(max_error(got.out, exact.out), bound);
  EXPECT_LT(max_error(got.dgate, exact.dgate), bound);
  EXPECT_LT(max_error(got.dup, exact.dup), bound);
}

TEST_P(Sizes, Bfloat16RoundsAsTheComposition) {
  const auto half = [&](uint64_t seed, double scale) { return test::random_tensor({9, GetParam()}, seed, scale).to(at::kBFloat16); };
  const Tensor gate = half(1, 3.0), up = half(2, 1.0), dout = half(3, 1.0);
  const Gradients got = run(gate, up, dout), plain = compose(gate, up, dout, at::kBFloat16), exact = compose(gate, up, dout, at::kDouble);
  // silu's last fp32 bit seldom turns a rounding; the rest is the same arithmetic.
  EXPECT_LE((got.out != plain.out).sum().item<int64_t>(), 1 + got.out.numel() / 1000);
  EXPECT_LE(rms(got.out, exact.out), 2 * rms(plain.out, exact.out));  // policy (c), as the next two
  EXPECT_LE(rms(got.dgate, exact.dgate), 2 * rms(plain.dgate, exact.dgate));
  EXPECT_LE(rms(got.dup, exact.dup), 2 * rms(plain.dup, exact.dup));
}

TEST(Swiglu, OutputsMayBeInputs) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor gate = test::random_tensor({7, 300}, 1).to(dtype), up = test::random_tensor({7, 300}, 2).to(dtype), dout = test::random_tensor({7, 300}, 3).to(dtype);
    const Gradients expected = run(gate, up, dout);
    Tensor g = gate.clone(), u = up.clone(), d = dout.clone();
    swiglu_backward(d, g, u, g, u);
    EXPECT_TRUE(at::equal(g, expected.dgate) && at::equal(u, expected.dup));
    g.copy_(gate);
    u.copy_(up);
    swiglu_backward(d, g, u, u, d);
    EXPECT_TRUE(at::equal(u, expected.dgate) && at::equal(d, expected.dup));
    g.copy_(gate);
    u.copy_(up);
    d.copy_(dout);
    swiglu_backward(d, g, u, g, u, d);  // with the forward's output in the gradient's place, as a layer does
    EXPECT_TRUE(at::equal(g, expected.dgate) && at::equal(u, expected.dup) && at::equal(d, expected.out));
    g.copy_(gate);
    u.copy_(up);
    swiglu(g, u, g);
    EXPECT_TRUE(at::equal(g, expected.out));
  }
}

TEST(Swiglu, AcceptsStridedRowsAndAnyNumberOfThreads) {
  const int before = at::get_num_threads();
  const Tensor fused = test::random_tensor({200, 2 * 321}, 4).to(at::kBFloat16);
  const Tensor gate = fused.narrow(1, 0, 321), up = fused.narrow(1, 321, 321), dout = test::random_tensor({200, 321}, 5).to(at::kBFloat16);
  at::set_num_threads(1);
  const Gradients expected = run(gate.contiguous(), up.contiguous(), dout);
  for (int threads : {1, 2, 5}) {
    at::set_num_threads(threads);
    const Gradients got = run(gate, up, dout);
    EXPECT_TRUE(at::equal(got.out, expected.out) && at::equal(got.dgate, expected.dgate) && at::equal(got.dup, expected.dup));
  }
  at::set_num_threads(before);
}

TEST(Swiglu, RefusesOtherShapesAndDtypes) {
  const Tensor x = test::random_tensor({4, 8}, 1), out = at::empty_like(x);
  EXPECT_THROW(swiglu(x, x.narrow(1, 0, 7), out), std::logic_error);
  EXPECT_THROW(swiglu(x, x.to(at::kBFloat16), out), std::logic_error);
  EXPECT_THROW(swiglu(x.to(at::kDouble), x.to(at::kDouble), out.to(at::kDouble)), std::logic_error);
  EXPECT_THROW(swiglu(x.view({-1}), x.view({-1}), out.view({-1})), std::logic_error);
  EXPECT_THROW(swiglu_backward(x, x, x, out, out.narrow(0, 0, 2)), std::logic_error);
}

}  // namespace
}  // namespace nibble::nn
