#include "nn/dropout.h"

#include <gtest/gtest.h>

#include <cmath>

namespace nibble::nn {
namespace {

Tensor mask(int64_t n, float p, const RngKey& key) {
  const Tensor ones = at::ones({n});
  const Tensor out = at::empty({n});
  dropout(ones, out, p, key);
  return out;
}

TEST(Dropout, KeepsTheStatedShareAndTheMean) {
  constexpr int64_t kN = 100000;
  for (float p : {0.05f, 0.5f, 0.9f}) {
    const Tensor m = mask(kN, p, dropout_key(1, 2, 3));
    const double kept = m.gt(0).sum().item<double>(), sigma = std::sqrt(kN * p * (1 - p));
    EXPECT_NEAR(kept, kN * (1.0 - p), 5 * sigma);
    EXPECT_EQ(m.max().item<float>(), 1.0f / (1.0f - p));
  }
}

TEST(Dropout, IsAFunctionOfSeedStepAndAdapter) {
  const Tensor m = mask(4096, 0.5f, dropout_key(1, 2, 3));
  EXPECT_TRUE(at::equal(m, mask(4096, 0.5f, dropout_key(1, 2, 3))));
  EXPECT_FALSE(at::equal(m, mask(4096, 0.5f, dropout_key(2, 2, 3))));
  EXPECT_FALSE(at::equal(m, mask(4096, 0.5f, dropout_key(1, 3, 3))));
  EXPECT_FALSE(at::equal(m, mask(4096, 0.5f, dropout_key(1, 2, 4))));
}

TEST(Dropout, DoesNotDependOnTheNumberOfThreads) {
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const Tensor one = mask(100003, 0.3f, dropout_key(7, 7, 7));
  at::set_num_threads(2);
  const Tensor two = mask(100003, 0.3f, dropout_key(7, 7, 7));
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(one, two));
}

TEST(Dropout, RoundsBfloat16Once) {
  const Tensor x = at::randn({1000}, at::kBFloat16), y = at::empty_like(x), expected = at::empty({1000});
  dropout(x, y, 0.25f, dropout_key(1, 1, 1));
  dropout(x.to(at::kFloat), expected, 0.25f, dropout_key(1, 1, 1));
  EXPECT_TRUE(at::equal(y, expected.to(at::kBFloat16)));
}

}  // namespace
}  // namespace nibble::nn
