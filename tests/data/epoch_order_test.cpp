#include "data/epoch_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "core/rng.h"

namespace nibble::data {
namespace {

// Rows of one document each, of these lengths.
Dataset rows_of(const std::vector<int64_t>& lengths) {
  std::vector<Sample> samples;
  for (const int64_t length : lengths) samples.push_back({std::vector<int32_t>(static_cast<size_t>(length), 3), std::vector<int32_t>(static_cast<size_t>(length), 3)});
  return Dataset(samples, 1000, false);
}

std::vector<int64_t> random_lengths(int64_t n) {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < n; ++i) lengths.push_back(1 + static_cast<int64_t>(random_below({11, RngPurpose::kTest, 3}, static_cast<uint64_t>(i), 400)));
  return lengths;
}

TEST(EpochOrder, IsAPermutationOfSeedAndEpoch) {
  const Dataset dataset = rows_of(random_lengths(97));
  for (const int64_t group : {0, 1, 8, 500}) {
    const auto order = epoch_order(dataset, 5, 2, true, group);
    auto sorted = order;
    std::sort(sorted.begin(), sorted.end());
    std::vector<int64_t> all(97);
    std::iota(all.begin(), all.end(), int64_t{0});
    EXPECT_EQ(sorted, all);
    EXPECT_EQ(epoch_order(dataset, 5, 2, true, group), order) << "no state";
    if (group == 500) continue;  // all of them in one stretch: the lengths alone decide
    EXPECT_NE(epoch_order(dataset, 6, 2, true, group), order);
    EXPECT_NE(epoch_order(dataset, 5, 3, true, group), order);
  }
  EXPECT_TRUE(std::ranges::is_sorted(epoch_order(dataset, 5, 2, false, 0)));
}

// What LengthGroupedSampler does, from its description: the shuffled order in stretches, each from long to short.
TEST(EpochOrder, GroupsStretchesByLengthWithTheLongestRowFirst) {
  const auto lengths = random_lengths(1000);
  const Dataset dataset = rows_of(lengths);
  const auto plain = epoch_order(dataset, 5, 0, true, 0), grouped = epoch_order(dataset, 5, 0, true, 4);
  constexpr size_t kStretch = 50 * 4;  // 1000 rows hold more than 4 such stretches
  std::vector<std::vector<int64_t>> stretches;
  for (size_t begin = 0; begin < plain.size(); begin += kStretch) stretches.emplace_back(plain.begin() + begin, plain.begin() + begin + kStretch);
  size_t longest = 0;
  for (size_t s = 0; s < stretches.size(); ++s) {
    std::stable_sort(stretches[s].begin(), stretches[s].end(), [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
    if (lengths[stretches[s][0]] > lengths[stretches[longest][0]]) longest = s;
  }
  std::swap(stretches[0][0], stretches[longest][0]);
  std::vector<int64_t> expected;
  for (const auto& stretch : stretches) expected.insert(expected.end(), stretch.begin(), stretch.end());
  EXPECT_EQ(grouped, expected);
  EXPECT_EQ(lengths[grouped[0]], *std::ranges::max_element(lengths));
}

TEST(EpochOrder, OfFewRowsIsOneStretchOfAGroup) {
  const Dataset dataset = rows_of({5, 9, 1, 7, 3, 8});
  const auto grouped = epoch_order(dataset, 1, 0, true, 2);
  // 6 rows / (2 * 4) is less than one group: stretches of 2, of which those behind the first two may have given their longest away.
  EXPECT_GE(dataset.row_tokens(grouped[0]), dataset.row_tokens(grouped[1]));
  EXPECT_EQ(dataset.row_tokens(grouped[0]), 9);
  EXPECT_TRUE(epoch_order(Dataset(), 1, 0, true, 2).empty());
}

}  // namespace
}  // namespace nibble::data
