#include "core/rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

namespace nibble {
namespace {

using Block = std::array<uint32_t, 4>;

// Random123's kat_vectors, philox4x32 with 10 rounds.
TEST(Philox, GivesTheKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}), (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomBlock, DiffersInEveryPartOfItsKey) {
  const RngKey key{42, RngPurpose::kDropout, 7};
  std::set<Block> blocks{random_block(key, 0), random_block(key, 1), random_block(key, uint64_t{1} << 32)};
  blocks.insert(random_block({43, RngPurpose::kDropout, 7}, 0));
  blocks.insert(random_block({42 + (uint64_t{1} << 32), RngPurpose::kDropout, 7}, 0));
  blocks.insert(random_block({42, RngPurpose::kShuffle, 7}, 0));
  blocks.insert(random_block({42, RngPurpose::kDropout, 8}, 0));
  blocks.insert(random_block({42, RngPurpose::kDropout, 7 + (uint64_t{1} << 32)}, 0));
  EXPECT_EQ(blocks.size(), 8u);
}

TEST(RandomUniform, FillsTheUnitIntervalEvenly) {
  const RngKey key{1, RngPurpose::kTest, 0};
  constexpr int kDraws = 1 << 16;
  double sum = 0, squares = 0;
  for (uint64_t i = 0; i < kDraws; ++i) {
    const double x = random_uniform(key, i);
    ASSERT_GE(x, 0.0);
    ASSERT_LT(x, 1.0);
    sum += x;
    squares += x * x;
  }
  // Five standard deviations of the mean of n uniforms, and of their squares.
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * std::sqrt(1.0 / 12 / kDraws));
  EXPECT_NEAR(squares / kDraws, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / kDraws));
}

TEST(RandomBelow, StaysInRangeAndReachesEveryValue) {
  const RngKey key{2, RngPurpose::kTest, 0};
  std::set<uint64_t> seen;
  for (uint64_t i = 0; i < 500; ++i) seen.insert(random_below(key, i, 7));
  EXPECT_EQ(seen, (std::set<uint64_t>{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(random_below(key, 0, 1), 0u);
  EXPECT_LT(random_below(key, 0, ~uint64_t{0}), ~uint64_t{0});
}

TEST(RandomPermutation, HoldsEachIndexOnceAndFollowsTheKey) {
  const RngKey key{3, RngPurpose::kShuffle, 0};
  std::vector<int64_t> sorted(1000);
  std::iota(sorted.begin(), sorted.end(), 0);
  const auto order = random_permutation(key, 1000);
  EXPECT_NE(order, sorted);
  EXPECT_EQ(order, random_permutation(key, 1000));
  EXPECT_NE(order, random_permutation({3, RngPurpose::kShuffle, 1}, 1000));
  EXPECT_TRUE(std::is_permutation(order.begin(), order.end(), sorted.begin()));
  EXPECT_TRUE(random_permutation(key, 0).empty());
  EXPECT_EQ(random_permutation(key, 1), std::vector<int64_t>{0});
}

}  // namespace
}  // namespace nibble
