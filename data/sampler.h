// The order in which rows are trained on, and the batches made of them.
//
// The order of an epoch is f(seed, epoch): a permutation drawn from the counter-based generator, so a position is two
// numbers and resuming is exact. Batches do not reach over the end of an epoch: the last one may be smaller.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"
#include "data/sample.h"

namespace nibble::data {

// The next row to be given out: row `row` of the order of epoch `epoch`.
struct Cursor {
  int64_t epoch = 0;
  int64_t row = 0;
  bool operator==(const Cursor&) const = default;
};

class BatchStream {
 public:
  // The dataset must outlive the stream. shuffle false: rows in the order of the dataset, in every epoch.
  // REQUIRES rows_per_batch >= 1. THROWS DataError where the dataset has no rows.
  BatchStream(const Dataset& dataset, int64_t rows_per_batch, uint64_t seed, bool shuffle);

  // The next batch, forever: an epoch follows the one before.
  Batch next();

  int64_t batches_per_epoch() const;
  int64_t batches_left_in_epoch() const;  // of the epoch that the next batch belongs to
  Cursor cursor() const { return cursor_; }
  // THROWS DataError where the cursor does not lie in this dataset.
  void seek(Cursor cursor);

 private:
  void draw_order();

  const Dataset* dataset_;
  int64_t rows_per_batch_;
  uint64_t seed_;
  bool shuffle_;
  Cursor cursor_;
  int64_t order_epoch_ = -1;
  std::vector<int64_t> order_;
};

// Rows laid end to end: documents isolated, positions from 0 in each, each document's first label ignored.
Batch make_batch(const Dataset& dataset, std::span<const int64_t> rows);

}  // namespace nibble::data
