// Rows by both strategies: goldens, a plain search as oracle, and time for millions of documents.
#include "data/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "core/rng.h"
#include "tests/data/fixtures.h"

namespace nibble::data {
namespace {

using nlohmann::json;

std::vector<std::vector<int64_t>> lists(const PackedRows& packed) {
  std::vector<std::vector<int64_t>> rows;
  for (int64_t r = 0; r < packed.rows(); ++r) rows.emplace_back(packed.row(r).begin(), packed.row(r).end());
  return rows;
}

// The definition, word for word, in quadratic time.
std::vector<std::vector<int64_t>> searched(const std::vector<int32_t>& lengths, int64_t capacity, PackingStrategy strategy) {
  std::vector<int64_t> order(lengths.size());
  for (size_t d = 0; d < order.size(); ++d) order[d] = static_cast<int64_t>(d);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
  std::vector<std::vector<int64_t>> rows;
  std::vector<int64_t> room;
  for (const int64_t d : order) {
    int64_t best = -1;
    for (int64_t r = 0; r < static_cast<int64_t>(rows.size()); ++r) {
      if (room[r] < lengths[d]) continue;
      const bool better = best < 0 || (strategy == PackingStrategy::kBfd && room[r] < room[best]);
      if (better) best = r;
    }
    if (best < 0) {
      best = static_cast<int64_t>(rows.size());
      rows.emplace_back();
      room.push_back(capacity);
    }
    rows[best].push_back(d);
    room[best] -= lengths[d];
  }
  return rows;
}

std::vector<int32_t> random_lengths(uint64_t seed, int64_t n, int64_t most) {
  std::vector<int32_t> lengths;
  for (int64_t d = 0; d < n; ++d) lengths.push_back(1 + static_cast<int32_t>(random_below({seed, RngPurpose::kTest, 2}, d, most)));
  return lengths;
}

TEST(Packing, FfdRowsEqualTheStatedOnes) {
  const json packing = read_golden_json("data/expected.json")["packing"];
  const auto capacity = packing["capacity"].get<int64_t>();
  int cases = 0;
  for (const auto& [name, expected] : packing["cases"].items()) {
    const auto lengths = expected["lengths"].get<std::vector<int32_t>>();
    EXPECT_EQ(json(lists(pack_rows(lengths, capacity, PackingStrategy::kFfd))), expected["rows"]) << name;
    ++cases;
  }
  EXPECT_GE(cases, 8);
}

TEST(Packing, BfdFillsTheFullestRowThatFits) {
  // 60 + 40, 50 + 45, 44 + 7: when 7 comes, the first row is full and the second has room for 5.
  EXPECT_EQ(lists(pack_rows(std::vector<int32_t>{60, 50, 45, 44, 40, 7}, 100, PackingStrategy::kBfd)),
            (std::vector<std::vector<int64_t>>{{0, 4}, {1, 2}, {3, 5}}));
  // 26 fits into the first row (room 36) and fills the second (37 + 37).
  const std::vector<int32_t> lengths{64, 37, 37, 26};
  EXPECT_EQ(lists(pack_rows(lengths, 100, PackingStrategy::kFfd)), (std::vector<std::vector<int64_t>>{{0, 3}, {1, 2}}));
  EXPECT_EQ(lists(pack_rows(lengths, 100, PackingStrategy::kBfd)), (std::vector<std::vector<int64_t>>{{0}, {1, 2, 3}}));
  const std::vector<int32_t> ties{50, 50, 50, 20};
  EXPECT_EQ(lists(pack_rows(ties, 75, PackingStrategy::kBfd)), (std::vector<std::vector<int64_t>>{{0, 3}, {1}, {2}})) << "of equal rows the first";
}

TEST(Packing, BothStrategiesDoWhatTheyAreDefinedToDo) {
  for (const PackingStrategy strategy : {PackingStrategy::kFfd, PackingStrategy::kBfd}) {
    for (uint64_t seed = 0; seed < 60; ++seed) {
      const int64_t capacity = seed % 3 == 0 ? 64 : (seed % 3 == 1 ? 1000 : 4100);
      const auto n = static_cast<int64_t>(random_below({seed, RngPurpose::kTest, 1}, 0, 300));
      const auto lengths = random_lengths(seed, n, seed % 2 == 0 ? capacity : capacity / 5 + 1);
      EXPECT_EQ(lists(pack_rows(lengths, capacity, strategy)), searched(lengths, capacity, strategy)) << "seed " << seed;
    }
  }
}

TEST(Packing, OneDocumentARowKeepsTheOrder) {
  EXPECT_EQ(lists(one_a_row(3)), (std::vector<std::vector<int64_t>>{{0}, {1}, {2}}));
  EXPECT_EQ(one_a_row(0).rows(), 0);
  EXPECT_EQ(pack_rows({}, 64, PackingStrategy::kBfd).rows(), 0);
}

TEST(Packing, MillionsOfDocumentsTakeSeconds) {
  const auto lengths = random_lengths(1, 500'000, 900);
  for (const PackingStrategy strategy : {PackingStrategy::kFfd, PackingStrategy::kBfd}) {
    const auto start = std::chrono::steady_clock::now();
    const PackedRows rows = pack_rows(lengths, 2048, strategy);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    EXPECT_EQ(rows.documents.size(), lengths.size());
    // Quadratic, this would take minutes. (d): a bound with room for a busy machine and sanitizers.
    EXPECT_LT(seconds, 10);
  }
}

}  // namespace
}  // namespace nibble::data
