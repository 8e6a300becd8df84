// Packing, batches and their order: properties that hold for any data.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/rng.h"
#include "data/packing.h"
#include "data/sampler.h"

namespace nibble::data {
namespace {

// n documents of pseudo-random lengths 1..capacity; ids tell document and place apart.
std::vector<Sample> documents(int64_t n, int64_t capacity, uint64_t seed) {
  std::vector<Sample> samples(n);
  for (int64_t d = 0; d < n; ++d) {
    const auto length = static_cast<int64_t>(random_below({seed, RngPurpose::kTest, 0}, d, capacity)) + 1;
    for (int64_t i = 0; i < length; ++i) samples[d].ids.push_back(static_cast<int32_t>(d * 1000 + i));
    samples[d].labels = samples[d].ids;
  }
  return samples;
}

TEST(Packing, EveryDocumentOnceAndNoRowTooLong) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const int64_t n = static_cast<int64_t>(random_below({seed, RngPurpose::kTest, 1}, 0, 300));
    std::vector<int64_t> lengths;
    for (int64_t d = 0; d < n; ++d) lengths.push_back(1 + static_cast<int64_t>(random_below({seed, RngPurpose::kTest, 2}, d, 64)));
    const auto rows = pack_first_fit_decreasing(lengths, 64);
    std::vector<int> seen(n, 0);
    int64_t total = 0;
    for (const auto& row : rows) {
      int64_t length = 0;
      for (const int64_t d : row) length += lengths[d], ++seen[d];
      EXPECT_GE(length, 1);
      EXPECT_LE(length, 64);
      total += length;
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), n);
    // First fit leaves at most one row half empty.
    EXPECT_LE(static_cast<int64_t>(rows.size()), 2 * (total / 64) + 1);
  }
}

TEST(Batch, DocumentsAreLaidEndToEndWithTheirFirstLabelIgnored) {
  const Dataset dataset({{{5, 6, 7}, {5, 6, 7}}, {{8, 9}, {8, kIgnoredLabel}}}, 8, true);
  ASSERT_EQ(dataset.rows(), 1);
  const Batch batch = make_batch(dataset, std::vector<int64_t>{0});
  EXPECT_EQ(batch.ids, (std::vector<int32_t>{5, 6, 7, 8, 9}));
  EXPECT_EQ(batch.labels, (std::vector<int32_t>{kIgnoredLabel, 6, 7, kIgnoredLabel, kIgnoredLabel}));
  EXPECT_EQ(batch.positions, (std::vector<int32_t>{0, 1, 2, 0, 1}));
  EXPECT_EQ(batch.document_starts, (std::vector<int32_t>{0, 3, 5}));
  EXPECT_EQ(batch.trained_tokens, 2);
  EXPECT_EQ(dataset.stats.trained_tokens, 2);
}

TEST(BatchStream, AnEpochGivesEveryRowOnceAndEpochsDiffer) {
  const auto samples = documents(101, 20, 3);
  const Dataset dataset(samples, 20, false);
  BatchStream stream(dataset, 4, 7, true);
  EXPECT_EQ(stream.batches_per_epoch(), 26);
  std::vector<std::vector<int32_t>> epochs;
  for (int epoch = 0; epoch < 2; ++epoch) {
    std::vector<int32_t> firsts;
    for (int64_t b = 0; b < stream.batches_per_epoch(); ++b) {
      const Batch batch = stream.next();
      EXPECT_EQ(batch.document_starts.size(), b + 1 < stream.batches_per_epoch() ? 5u : 2u);
      for (size_t d = 0; d + 1 < batch.document_starts.size(); ++d) firsts.push_back(batch.ids[batch.document_starts[d]] / 1000);
    }
    EXPECT_EQ(std::set<int32_t>(firsts.begin(), firsts.end()).size(), 101u);
    EXPECT_EQ(stream.cursor(), (Cursor{epoch + 1, 0}));
    epochs.push_back(firsts);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_FALSE(std::is_sorted(epochs[0].begin(), epochs[0].end()));
}

TEST(BatchStream, WithoutShuffleRowsComeInFileOrder) {
  const Dataset dataset(documents(10, 5, 1), 5, false);
  BatchStream stream(dataset, 3, 7, false);
  for (int epoch = 0; epoch < 2; ++epoch) {
    int32_t next = 0;
    for (int64_t b = 0; b < stream.batches_per_epoch(); ++b) {
      const Batch batch = stream.next();
      for (size_t d = 0; d + 1 < batch.document_starts.size(); ++d) EXPECT_EQ(batch.ids[batch.document_starts[d]], 1000 * next++);
    }
    EXPECT_EQ(next, 10);
  }
}

TEST(BatchStream, SeekContinuesExactlyFromAnyPosition) {
  const Dataset dataset(documents(37, 16, 5), 16, true);
  std::vector<Cursor> cursors;
  std::vector<Batch> batches;
  BatchStream stream(dataset, 2, 11, true);
  for (int i = 0; i < 40; ++i) {
    cursors.push_back(stream.cursor());
    batches.push_back(stream.next());
  }
  for (const size_t start : {size_t{39}, size_t{0}, size_t{17}, size_t{5}}) {
    BatchStream resumed(dataset, 2, 11, true);
    resumed.seek(cursors[start]);
    for (size_t i = start; i < batches.size(); ++i) {
      const Batch batch = resumed.next();
      ASSERT_EQ(batch.ids, batches[i].ids);
      ASSERT_EQ(batch.document_starts, batches[i].document_starts);
    }
  }
  EXPECT_THROW(stream.seek({0, dataset.rows()}), DataError);
  EXPECT_THROW(stream.seek({-1, 0}), DataError);
}

TEST(Split, PartsAreDisjointCompleteAndFollowTheSeed) {
  const Dataset dataset(documents(50, 9, 2), 9, false);
  const auto [train, validation] = split_dataset(dataset, 0.1, 42);
  EXPECT_EQ(train.documents(), 45);
  EXPECT_EQ(validation.documents(), 5);
  std::set<int32_t> seen;
  for (const Dataset* part : {&train, &validation}) {
    int32_t last = -1;
    for (int64_t d = 0; d < part->documents(); ++d) {
      EXPECT_GT(part->ids(d)[0], last);  // the files' order
      last = part->ids(d)[0];
      seen.insert(last);
    }
  }
  EXPECT_EQ(seen.size(), 50u);
  const auto firsts = [](const Dataset& part) {
    std::vector<int32_t> ids;
    for (int64_t d = 0; d < part.documents(); ++d) ids.push_back(part.ids(d)[0]);
    return ids;
  };
  EXPECT_EQ(firsts(split_dataset(dataset, 0.1, 42).second), firsts(validation));
  EXPECT_NE(firsts(split_dataset(dataset, 0.1, 43).second), firsts(validation));
  EXPECT_EQ(split_dataset(dataset, 0.001, 1).second.documents(), 1);
  EXPECT_THROW(split_dataset(dataset, 1.0, 1), ConfigError);
  EXPECT_THROW(split_dataset(Dataset(documents(1, 3, 1), 3, false), 0.5, 1), ConfigError);
}

TEST(Dataset, DocumentsThatFitNoRowAreRefused) {
  EXPECT_THROW(Dataset({{{1, 2, 3}, {1, 2, 3}}}, 2, true), DataError);
  EXPECT_THROW(Dataset({{{}, {}}}, 2, true), DataError);
  EXPECT_THROW(Dataset({{{1, 2}, {1}}}, 2, false), DataError);
}

}  // namespace
}  // namespace nibble::data
