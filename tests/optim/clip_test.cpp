// Units: optim/clip_math, optim/clip_cpu. The norm as the optimizer measures it, and what it is clipped by.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/rng.h"
#include "optim/clip_math.h"
#include "optim/optimizer.h"

namespace nibble::optim {
namespace {

Tensor random_tensor(at::IntArrayRef shape, uint64_t number) {
  Tensor t = at::empty(shape, at::kFloat);
  auto* values = t.data_ptr<float>();
  for (int64_t i = 0; i < t.numel(); ++i) {
    values[i] = random_uniform({1, RngPurpose::kTest, number}, static_cast<uint64_t>(i)) - 0.5f;
  }
  return t;
}

double naive_square_sum(const std::vector<Tensor>& tensors) {
  long double sum = 0;
  for (const Tensor& t : tensors) {
    for (int64_t i = 0; i < t.numel(); ++i) {
      const long double value = t.const_data_ptr<float>()[i];
      sum += value * value;
    }
  }
  return static_cast<double>(sum);
}

StepOutcome outcome_of(const std::vector<Tensor>& gradients) {
  std::vector<ParamRef> params;
  for (const Tensor& g : gradients) params.push_back({fmt::format("p{}", params.size()), at::zeros_like(g), g});
  Optimizer optimizer({}, params);
  optimizer.step(/*lr=*/0.0, /*trained_tokens=*/1, /*max_grad_norm=*/1.0);
  return optimizer.outcome();
}
double norm_of(const std::vector<Tensor>& gradients) { return outcome_of(gradients).grad_norm; }

TEST(GradientNorm, EqualsTheNaiveSumForRaggedShapes) {
  const std::vector<Tensor> tensors{random_tensor({3, 5}, 1), random_tensor({16384}, 2), random_tensor({16385}, 3), random_tensor({257, 129}, 4)};
  const double expected = std::sqrt(naive_square_sum(tensors));
  // (b) n fp64 additions of positive terms: relative error below n * 2^-53, n = 66 thousand.
  EXPECT_NEAR(norm_of(tensors), expected, expected * 66e3 * 0x1p-53);
}

TEST(GradientNorm, DoesNotDependOnTheNumberOfThreads) {
  const std::vector<Tensor> tensors{random_tensor({300, 777}, 5), random_tensor({11}, 6)};
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const double one = norm_of(tensors);
  at::set_num_threads(3);
  const double three = norm_of(tensors);
  at::set_num_threads(before);
  EXPECT_EQ(one, three);
}

TEST(GradientNorm, DoesNotOverflowWhereFp32Would) {
  EXPECT_DOUBLE_EQ(norm_of({at::full({4}, 1e30f, at::kFloat)}), 2.0 * static_cast<double>(1e30f));
}

TEST(GradientNorm, OfNothingIsZero) { EXPECT_EQ(norm_of({}), 0.0); }

TEST(GradientNorm, TellsWhenOneElementOfManyIsNotFinite) {
  Tensor gradient = at::ones({70000}, at::kFloat);
  EXPECT_TRUE(outcome_of({gradient}).finite());
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    gradient.data_ptr<float>()[69999] = bad;
    EXPECT_FALSE(outcome_of({gradient}).finite());
  }
}

TEST(ClippedGradient, DividesByTokensBeforeItMeasures) {
  constexpr double kSquareSum = 4 * 8.0 * 8.0;  // a sum over 16 tokens; the mean's norm is 1
  const ClippedGradient kept = clipped_gradient(kSquareSum, 16, 2.0);
  EXPECT_DOUBLE_EQ(kept.grad_norm, 1.0);
  EXPECT_EQ(kept.scale, 1.0f / 16.0f);
  const ClippedGradient cut = clipped_gradient(kSquareSum, 16, 0.25);
  EXPECT_DOUBLE_EQ(cut.grad_norm, 1.0);
  EXPECT_EQ(cut.scale, static_cast<float>(0.25 / (1.0 + 1e-6) / 16.0));
}

TEST(ClippedGradient, ZeroOrLessMeansNoClipping) {
  EXPECT_EQ(clipped_gradient(4e12, 1, 0.0).scale, 1.0f);
  EXPECT_EQ(clipped_gradient(4e12, 2, -1.0).scale, 0.5f);
}

TEST(ClippedGradient, IsNotFiniteWhereTheSumIsNot) {
  EXPECT_TRUE(clipped_gradient(1e300, 1, 1.0).finite());
  EXPECT_FALSE(clipped_gradient(std::numeric_limits<double>::quiet_NaN(), 1, 1.0).finite());
  EXPECT_FALSE(clipped_gradient(std::numeric_limits<double>::infinity(), 1, 1.0).finite());
}

}  // namespace
}  // namespace nibble::optim
