// Unit: trainer/tensor_stats
#include "trainer/tensor_stats.h"

#include <gtest/gtest.h>

#include <limits>

namespace nibble::trainer {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

TEST(TensorStats, CountsAndMeasuresWhatIsFinite) {
  const TensorStats stats = tensor_stats(at::tensor({3.0f, kNan, -4.0f, kInf, 0.0f}), {});
  EXPECT_EQ(stats.count, 5);
  EXPECT_EQ(stats.non_finite, 2);
  EXPECT_EQ(stats.first_non_finite, 1);
  EXPECT_EQ(stats.norm(), 5.0);
  EXPECT_EQ(stats.rms(), std::sqrt(25.0 / 3.0));
}

TEST(TensorStats, OverflowsNowhere) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  const TensorStats stats = tensor_stats(at::full({100}, kLargest), {});
  EXPECT_NEAR(stats.rms(), kLargest, 1e-13 * kLargest);  // (b) 100 fp64 sums
  EXPECT_EQ(tensor_stats(at::full({3}, kNan), {}).rms(), 0.0);
  EXPECT_EQ(tensor_stats(at::empty({0}), {}).rms(), 0.0);
}

TEST(TensorStats, AddsUp) {
  TensorStats sum = tensor_stats(at::tensor({3.0f}), {});
  sum.add(tensor_stats(at::tensor({kNan, 4.0f}), {}));
  EXPECT_EQ(sum.norm(), 5.0);
  EXPECT_EQ(sum.count, 3);
  EXPECT_EQ(sum.non_finite, 1);
}

TEST(AllFinite, SeesEveryValueOfEveryDtype) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble, at::kHalf}) {
    for (const int64_t size : {1, 7, 33, 1000}) {
      const Tensor t = at::full({size}, -60000.0, dtype);
      EXPECT_TRUE(all_finite(t, {})) << dtype;
      for (const float bad : {kInf, -kInf, kNan}) {
        for (const int64_t at : {int64_t{0}, size / 2, size - 1}) {
          const Tensor broken = t.clone();
          broken[at].fill_(bad);
          EXPECT_FALSE(all_finite(broken, {})) << dtype << " " << size << " " << at;
        }
      }
    }
  }
  EXPECT_TRUE(all_finite(at::full({9}, std::numeric_limits<float>::max()), {}));
  EXPECT_TRUE(all_finite(at::full({9}, std::numeric_limits<float>::denorm_min()), {}));
  const Tensor square = at::zeros({4, 4});
  square[0][3].fill_(kNan);
  EXPECT_FALSE(all_finite(square.t(), {}));
}

}  // namespace
}  // namespace nibble::trainer
