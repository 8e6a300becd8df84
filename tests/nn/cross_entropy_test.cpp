#include "nn/cross_entropy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/bf16.h"
#include "nn/cross_entropy_math.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

struct Result {
  std::vector<double> nll;
  Tensor gradient;
};

Result run(const Tensor& logits, const std::vector<int32_t>& targets) {
  Result r{std::vector<double>(targets.size()), logits.clone()};
  cross_entropy_backward_in_place(r.gradient, targets, r.nll);
  return r;
}

TEST(ExpNonpositive, IsWithinTwoUlp) {
  for (double x = -87.0; x <= 0.0; x += 0.00137) {
    const auto f = static_cast<float>(x);
    const double exact = std::exp(static_cast<double>(f));
    EXPECT_LT(std::abs(exp_nonpositive(f) - exact), 2 * exact * 0x1p-23) << f;
  }
  EXPECT_EQ(exp_nonpositive(0.0f), 1.0f);
  EXPECT_EQ(exp_nonpositive(-100.0f), 0.0f);
  EXPECT_TRUE(std::isnan(exp_nonpositive(std::numeric_limits<float>::quiet_NaN())));
}

TEST(FloatToBf16, RoundsAsLibTorchDoes) {
  const Tensor x = test::random_tensor({4096}, 1, 3.0);
  const Tensor expected = x.to(at::kBFloat16);
  for (int64_t i = 0; i < x.numel(); ++i) {
    EXPECT_EQ(float_to_bf16(x.const_data_ptr<float>()[i]), expected.const_data_ptr<at::BFloat16>()[i].x);
  }
}

class Vocabularies : public testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(CrossEntropy, Vocabularies, testing::Values(1, 2, 31, 32, 33, 96, 2048, 2085, 49152));

TEST_P(Vocabularies, EqualsAutogradInDouble) {
  const int64_t vocab = GetParam(), rows = 5;
  const Tensor logits = test::random_tensor({rows, vocab}, 17, 4.0);
  std::vector<int32_t> targets;
  for (int64_t i = 0; i < rows; ++i) targets.push_back(static_cast<int32_t>(i * 7919 % vocab));
  const Result got = run(logits, targets);
  const Tensor exact = logits.to(at::kDouble).set_requires_grad(true);
  const Tensor nll = -at::log_softmax(exact, 1).gather(1, at::tensor(std::vector<int64_t>(targets.begin(), targets.end())).unsqueeze(1));
  nll.sum().backward();
  for (int64_t i = 0; i < rows; ++i) {
    // Policy (b): exp is within 2 ulp, sums are in fp64.
    EXPECT_NEAR(got.nll[static_cast<size_t>(i)], nll[i].item<double>(), 1e-6 * (1 + nll[i].item<double>()));
  }
  EXPECT_LT((got.gradient.to(at::kDouble) - exact.grad()).abs().max().item<double>(), 1e-6);
  std::vector<double> forward_only(static_cast<size_t>(rows));
  cross_entropy(logits, targets, forward_only);
  EXPECT_EQ(forward_only, got.nll);
}

TEST(CrossEntropy, Bfloat16GradientIsTheRoundedOne) {
  const Tensor logits = test::random_tensor({3, 1000}, 5, 4.0).to(at::kBFloat16);
  const std::vector<int32_t> targets{0, 500, 999};
  const Result half = run(logits, targets), full = run(logits.to(at::kFloat), targets);
  EXPECT_EQ(half.nll, full.nll);
  EXPECT_TRUE(at::equal(half.gradient, full.gradient.to(at::kBFloat16)));
}

TEST(CrossEntropy, SurvivesLargeLogitsAndReportsNan) {
  const Tensor large = at::tensor(std::vector<float>{3e38f, -3e38f, 0.0f}).view({1, 3});
  EXPECT_EQ(run(large, {0}).nll[0], 0.0);
  const Tensor bad = at::tensor(std::vector<float>{1.0f, std::numeric_limits<float>::quiet_NaN(), 0.0f}).view({1, 3});
  EXPECT_TRUE(std::isnan(run(bad, {0}).nll[0]));
}

}  // namespace
}  // namespace nibble::nn
