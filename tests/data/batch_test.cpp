// Batches and their order: properties that hold for any data. Units: data/sampler data/dataset data/token_store
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/rng.h"
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

TEST(BatchStream, NamesTheDocumentsOfTheNextBatchAndTakesNone) {
  const auto samples = documents(23, 20, 3);
  const Dataset dataset(samples, 64, /*packing=*/true);
  BatchStream stream(dataset, 2, 7, true);
  EXPECT_EQ(&stream.dataset(), &dataset);
  for (int64_t b = 0; b < 2 * stream.batches_per_epoch(); ++b) {
    const Cursor before = stream.cursor();
    const std::vector<int64_t> named = stream.next_documents();
    EXPECT_EQ(stream.cursor(), before);
    const Batch batch = stream.next();
    ASSERT_EQ(named.size() + 1, batch.document_starts.size());
    for (size_t d = 0; d < named.size(); ++d) EXPECT_EQ(dataset.ids(named[d])[0], batch.ids[static_cast<size_t>(batch.document_starts[d])]);
  }
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

TEST(BatchStream, RanksShareTheOrderOutRowByRow) {
  const Dataset dataset(documents(53, 12, 8), 12, false);
  BatchStream alone(dataset, 6, 5, true);
  std::vector<int32_t> order;  // documents of two epochs
  for (int64_t b = 0; b < 2 * alone.batches_per_epoch(); ++b) {
    const Batch batch = alone.next();
    for (size_t d = 0; d + 1 < batch.document_starts.size(); ++d) order.push_back(batch.ids[batch.document_starts[d]] / 1000);
  }
  ASSERT_EQ(order.size(), 106u);
  for (const int64_t world : {1, 2, 3, 6}) {
    std::vector<int32_t> given(order.size(), -1);
    for (int64_t rank = 0; rank < world; ++rank) {
      BatchStream stream(dataset, 6 / world, 5, true, {0, rank, world});
      EXPECT_EQ(stream.batches_per_epoch(), alone.batches_per_epoch());
      for (int64_t b = 0; b < 2 * stream.batches_per_epoch(); ++b) {
        const Cursor at = stream.cursor();
        const Batch batch = stream.next();
        int64_t i = at.epoch * 53 + at.row + (rank - at.row % world + world) % world;
        for (size_t d = 0; d + 1 < batch.document_starts.size(); ++d, i += world) given[i] = batch.ids[batch.document_starts[d]] / 1000;
      }
      EXPECT_EQ(stream.cursor(), (Cursor{2, 0}));
    }
    EXPECT_EQ(given, order) << world << " ranks";
  }
}

TEST(BatchStream, ContinuesWithAnotherNumberOfRanksAtTheSameRow) {
  const Dataset dataset(documents(40, 12, 9), 12, false);
  BatchStream alone(dataset, 4, 5, true);
  alone.next();
  const Cursor cursor = alone.cursor();
  std::multiset<int32_t> expected, given;
  const auto collect = [](const Batch& batch, std::multiset<int32_t>& into) {
    for (size_t d = 0; d + 1 < batch.document_starts.size(); ++d) into.insert(batch.ids[batch.document_starts[d]] / 1000);
  };
  for (int i = 0; i < 3; ++i) collect(alone.next(), expected);
  for (int64_t rank = 0; rank < 3; ++rank) {
    BatchStream stream(dataset, 4, 5, true, {0, rank, 3});
    stream.seek(cursor);
    collect(stream.next(), given);
    EXPECT_EQ(stream.cursor(), alone.cursor());
  }
  EXPECT_EQ(given, expected);
}

TEST(Dataset, GivesBackWhatItWasMadeOf) {
  std::vector<Sample> samples;
  for (const int64_t length : {1, 2, 31, 32, 33, 63, 64, 65, 200}) {
    Sample sample;
    for (int64_t t = 0; t < length; ++t) {
      sample.ids.push_back(static_cast<int32_t>(length * 1000 + t));
      sample.labels.push_back((t * t + length) % 3 == 0 ? sample.ids.back() : kIgnoredLabel);
    }
    samples.push_back(sample);
  }
  const Dataset dataset(samples, 200, true);
  int64_t tokens = 0, trained = 0;
  for (size_t d = 0; d < samples.size(); ++d) {
    const auto document = static_cast<int64_t>(d);
    EXPECT_EQ(dataset.sample(document).ids, samples[d].ids);
    EXPECT_EQ(dataset.sample(document).labels, samples[d].labels);
    const auto counted = std::count_if(samples[d].labels.begin() + 1, samples[d].labels.end(), [](int32_t label) { return label != kIgnoredLabel; });
    EXPECT_EQ(dataset.trained(document), counted);
    tokens += dataset.length(document);
    trained += counted;
  }
  EXPECT_EQ(dataset.stats.tokens, tokens);
  EXPECT_EQ(dataset.stats.trained_tokens, trained);
  int64_t in_rows = 0;
  for (int64_t r = 0; r < dataset.rows(); ++r) in_rows += dataset.row_tokens(r);
  EXPECT_EQ(in_rows, tokens);
  const auto used = dataset.used_ids();
  EXPECT_TRUE(used[1000 / 64] >> (1000 % 64) & 1);
  EXPECT_FALSE(used[1001 / 64] >> (1001 % 64) & 1) << "the document of one token has one";
  const Dataset copy = dataset;
  EXPECT_EQ(copy.ids(3).data(), dataset.ids(3).data()) << "a copy copies no token";
}

TEST(Dataset, DocumentsThatFitNoRowAreRefused) {
  EXPECT_THROW(Dataset({{{1, 2, 3}, {1, 2, 3}}}, 2, true), DataError);
  EXPECT_THROW(Dataset({{{}, {}}}, 2, true), DataError);
  EXPECT_THROW(Dataset({{{1, 2}, {1}}}, 2, false), DataError);
}

}  // namespace
}  // namespace nibble::data
