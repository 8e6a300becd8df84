#include "nn/linear.h"

#include <gtest/gtest.h>

#include "nn/dropout.h"
#include "nn/lora.h"
#include "quant/blockwise.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

constexpr int64_t kTokens = 37, kIn = 96, kOut = 160, kRank = 6;

Linear make_linear(bool quantized, float dropout_p, at::ScalarType dtype = at::kFloat) {
  Linear linear;
  const Tensor w = test::random_tensor({kOut, kIn}, 1, 0.1).to(dtype);
  if (quantized) {
    linear.weight.packed = quant::quantize(w, {});
  } else {
    linear.weight.dense = w;
  }
  linear.bias = test::random_tensor({kOut}, 2, 0.1).to(dtype);
  set_lora(linear, test::random_tensor({kRank, kIn}, 3, 0.1), test::random_tensor({kOut, kRank}, 4, 0.1), 2.0f, dropout_p, 5, dtype);
  return linear;
}

double relative_error(const Tensor& got, const Tensor& expected) {
  const Tensor e = expected.to(at::kDouble);
  return ((got.to(at::kDouble) - e).norm() / e.norm()).item<double>();
}

class Weights : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Linear, Weights, testing::Bool(), [](const auto& info) { return info.param ? "nf4" : "dense"; });

TEST_P(Weights, ForwardAndBackwardEqualAutogradInDouble) {
  for (float p : {0.0f, 0.3f}) {
    Linear linear = make_linear(GetParam(), p);
    Workspace ws;
    const DropoutContext context{true, 9, 4};
    const Tensor x = test::random_tensor({kTokens, kIn}, 6), dy = test::random_tensor({kTokens, kOut}, 7);
    const Tensor y = at::empty({kTokens, kOut});
    const Tensor h = linear_forward(linear, x, y, context, ws, ws.saved);
    const Tensor before = test::random_tensor({kTokens, kIn}, 8);
    Tensor dx = before.clone();
    linear_backward(linear, x, h, dy, dx, Into::kAdd, context, ws);

    Tensor mask = at::ones_like(x);
    if (p > 0) dropout(mask, mask, p, dropout_key(9, 4, 5));
    const Tensor w = linear.weight.quantized() ? quant::dequantize(linear.weight.packed, at::kFloat) : linear.weight.dense;
    const Tensor xd = x.to(at::kDouble).set_requires_grad(true);
    const Tensor a = linear.lora->a.to(at::kDouble).set_requires_grad(true), b = linear.lora->b.to(at::kDouble).set_requires_grad(true);
    const Tensor expected = xd.mm(w.to(at::kDouble).t()) + linear.bias.to(at::kDouble) + 2.0 * (xd * mask.to(at::kDouble)).mm(a.t()).mm(b.t());
    expected.backward(dy.to(at::kDouble));
    // Policy (b): fp32 dot products of at most 160 terms.
    constexpr double kBound = 1e-6;
    EXPECT_LT(relative_error(y, expected), kBound);
    EXPECT_LT(relative_error(dx - before, xd.grad()), kBound);
    EXPECT_LT(relative_error(linear.lora->da, a.grad()), kBound);
    EXPECT_LT(relative_error(linear.lora->db, b.grad()), kBound);
  }
}

// As bf16 runs on this CPU: on tiles, by kernels or by LibTorch. The adapter's part is as large as the weight's.
TEST_P(Weights, InBfloat16TheAdapterCountsOnceForEveryRank) {
  for (const int64_t rank : {2, 6, 16, 40, 64, 130}) {
    for (const float p : {0.0f, 0.3f}) {
      Linear linear = make_linear(GetParam(), p, at::kBFloat16);
      set_lora(linear, test::random_tensor({rank, kIn}, 3, 0.2), test::random_tensor({kOut, rank}, 4, 0.2), 1.5f, p, 5, at::kBFloat16);
      Workspace ws;
      const DropoutContext context{true, 9, 4};
      const Tensor x = test::random_tensor({kTokens, kIn}, 6).to(at::kBFloat16), dy = test::random_tensor({kTokens, kOut}, 7).to(at::kBFloat16);
      const Tensor y = at::empty({kTokens, kOut}, at::kBFloat16), dx = test::random_tensor({kTokens, kIn}, 8).to(at::kBFloat16), before = dx.clone();
      const Tensor h = linear_forward(linear, x, y, context, ws, ws.saved);
      linear_backward(linear, x, h, dy, dx, Into::kAdd, context, ws);

      const auto wide = [](const Tensor& t) { return t.to(at::kDouble); };
      Tensor mask = at::ones({kTokens, kIn});
      if (p > 0) dropout(mask, mask, p, dropout_key(9, 4, 5));
      const Tensor w = wide(linear.weight.quantized() ? quant::dequantize(linear.weight.packed, at::kBFloat16) : linear.weight.dense);
      const Tensor a = wide(linear.lora->a), b = wide(linear.lora->b), xm = wide(x) * wide(mask), dh = 1.5 * wide(dy).mm(b);
      constexpr double kBound = 0.01;  // a few roundings to bf16
      EXPECT_LT(relative_error(y, wide(x).mm(w.t()) + wide(linear.bias) + 1.5 * xm.mm(a.t()).mm(b.t())), kBound) << rank;
      EXPECT_LT(relative_error(dx, wide(before) + wide(dy).mm(w) + dh.mm(a) * wide(mask)), kBound) << rank;
      EXPECT_LT(relative_error(linear.lora->da, dh.t().mm(xm)), kBound) << rank;
      EXPECT_LT(relative_error(linear.lora->db, 1.5 * wide(dy).t().mm(xm.mm(a.t()))), kBound) << rank;
    }
  }
}

TEST(Linear, GradientsOfMicroBatchesAddUp) {
  Linear linear = make_linear(false, 0.0f);
  Workspace ws;
  const Tensor x = test::random_tensor({kTokens, kIn}, 6), dy = test::random_tensor({kTokens, kOut}, 7);
  const Tensor y = at::empty({kTokens, kOut});
  const Tensor h = linear_forward(linear, x, y, {}, ws, ws.saved);
  linear_backward(linear, x, h, dy, Tensor(), Into::kWrite, {}, ws);
  const Tensor once = linear.lora->da.clone();
  linear_backward(linear, x, h, dy, Tensor(), Into::kWrite, {}, ws);
  EXPECT_TRUE(at::equal(linear.lora->da, once * 2));
}

TEST(Linear, ANewAdapterChangesNothing) {
  Linear linear = make_linear(false, 0.0f), plain = make_linear(false, 0.0f);
  plain.lora.reset();
  set_lora(linear, linear.lora->a, at::zeros({kOut, kRank}), 2.0f, 0.0f, 0, at::kFloat);
  Workspace ws;
  const Tensor x = test::random_tensor({kTokens, kIn}, 6);
  const Tensor with = at::empty({kTokens, kOut}), without = at::empty({kTokens, kOut});
  linear_forward(linear, x, with, {}, ws, ws.saved);
  EXPECT_FALSE(linear_forward(plain, x, without, {}, ws, ws.saved).defined());
  EXPECT_TRUE(at::equal(with, without));
}

TEST(Linear, WrongShapesAreOurOwnMistake) {
  Linear linear = make_linear(false, 0.0f);
  Workspace ws;
  EXPECT_THROW(linear_forward(linear, at::zeros({3, kIn + 1}), at::empty({3, kOut}), {}, ws, ws.saved), std::logic_error);
  EXPECT_THROW(linear_forward(linear, at::zeros({3, kIn}), at::empty({4, kOut}), {}, ws, ws.saved), std::logic_error);
}

}  // namespace
}  // namespace nibble::nn
