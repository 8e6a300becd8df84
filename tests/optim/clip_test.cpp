#include "optim/clip.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "core/rng.h"

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

TEST(GlobalNorm, EqualsTheNaiveSumForRaggedShapes) {
  const std::vector<Tensor> tensors{random_tensor({3, 5}, 1), random_tensor({16384}, 2), random_tensor({16385}, 3),
                                    random_tensor({257, 129}, 4), at::empty({0}, at::kFloat)};
  const double expected = std::sqrt(naive_square_sum(tensors));
  // (b) n fp64 additions of positive terms: relative error below n * 2^-53, n = 66 thousand.
  EXPECT_NEAR(global_norm(tensors), expected, expected * 66e3 * 0x1p-53);
}

TEST(GlobalNorm, DoesNotDependOnTheNumberOfThreads) {
  const std::vector<Tensor> tensors{random_tensor({300, 777}, 5), random_tensor({11}, 6)};
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const double one = global_norm(tensors);
  at::set_num_threads(3);
  const double three = global_norm(tensors);
  at::set_num_threads(before);
  EXPECT_EQ(one, three);
}

TEST(GlobalNorm, DoesNotOverflowWhereFp32Would) {
  EXPECT_DOUBLE_EQ(global_norm({at::full({4}, 1e30f, at::kFloat)}), 2.0 * static_cast<double>(1e30f));
}

TEST(GlobalNorm, OfNothingIsZero) { EXPECT_EQ(global_norm({}), 0.0); }

TEST(GlobalNorm, RefusesAnotherDtype) {
  EXPECT_THROW(global_norm({at::zeros({4}, at::kDouble)}), std::invalid_argument);
  EXPECT_THROW(global_norm({at::zeros({4, 4}, at::kFloat).t().narrow(0, 0, 2)}), std::invalid_argument);
}

TEST(Clip, DividesByTokensBeforeItMeasures) {
  const Tensor gradient = at::full({4}, 8.0f, at::kFloat);  // sum over 16 tokens; the mean's norm is 1
  const ClippedGradient kept = clip({gradient}, 16, 2.0);
  EXPECT_DOUBLE_EQ(kept.grad_norm, 1.0);
  EXPECT_EQ(kept.scale, 1.0f / 16.0f);
  const ClippedGradient cut = clip({gradient}, 16, 0.25);
  EXPECT_DOUBLE_EQ(cut.grad_norm, 1.0);
  EXPECT_EQ(cut.scale, static_cast<float>(0.25 / (1.0 + 1e-6) / 16.0));
}

TEST(Clip, ZeroOrLessMeansNoClipping) {
  const Tensor gradient = at::full({4}, 1e6f, at::kFloat);
  EXPECT_EQ(clip({gradient}, 1, 0.0).scale, 1.0f);
  EXPECT_EQ(clip({gradient}, 2, -1.0).scale, 0.5f);
}

TEST(Clip, TellsWhenAGradientIsNotFinite) {
  Tensor gradient = at::ones({70000}, at::kFloat);
  EXPECT_TRUE(clip({gradient}, 1, 1.0).finite());
  gradient.data_ptr<float>()[69999] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(clip({gradient}, 1, 1.0).finite());
  gradient.data_ptr<float>()[69999] = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(clip({gradient}, 1, 1.0).finite());
}

TEST(Clip, RefusesAStepWithoutTrainedTokens) {
  EXPECT_THROW(clip({at::zeros({1}, at::kFloat)}, 0, 1.0), std::invalid_argument);
}

}  // namespace
}  // namespace nibble::optim
