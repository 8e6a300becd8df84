// The batches that rows come in, and where in them a run is.
//
// The order of an epoch is f(seed, epoch) (data/epoch_order.h), so a position is two numbers and resuming is exact. It counts rows of
// the order, not batches of a rank: a run may be continued with another number of ranks, or of threads, at the same row. Batches do
// not reach over the end of an epoch: the last one may be smaller.
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

// Beside the seed, what decides who gets which rows.
struct BatchOrder {
  int64_t group_rows = 0;  // > 0: rows of similar length together (data/epoch_order.h): those of an optimizer step, over all ranks
  int64_t rank = 0;        // row i of the order goes to rank i mod world
  int64_t world = 1;
};

class BatchStream {
 public:
  // The dataset must outlive the stream. shuffle false: rows in the order of the dataset, in every epoch.
  // REQUIRES rows_per_batch >= 1, 0 <= rank < world. THROWS DataError where the dataset has no rows.
  BatchStream(const Dataset& dataset, int64_t rows_per_batch, uint64_t seed, bool shuffle, BatchOrder order = {});

  // The next batch, forever: an epoch follows the one before. At the end of an epoch a rank may get fewer rows than others, or none.
  Batch next();

  // The documents of the next batch, in its order: numbers in dataset(). Takes nothing.
  std::vector<int64_t> next_documents();

  const Dataset& dataset() const { return *dataset_; }
  int64_t batches_per_epoch() const;
  int64_t batches_left_in_epoch() const;  // of the epoch that the next batch belongs to
  Cursor cursor() const { return cursor_; }
  // THROWS DataError where the cursor does not lie in this dataset.
  void seek(Cursor cursor);

 private:
  void draw_order();
  int64_t end_of_next() const;          // row of the order
  std::vector<int64_t> next_rows();
  void release(const Batch& batch);
  int64_t rows_of_all() const { return rows_per_batch_ * order_rules_.world; }

  const Dataset* dataset_;
  int64_t rows_per_batch_;
  uint64_t seed_;
  bool shuffle_;
  BatchOrder order_rules_;
  Cursor cursor_;
  int64_t order_epoch_ = -1;
  std::vector<int64_t> order_;
  int64_t mapped_bytes_ = 0;  // brought into memory since pages were released
};

// Rows laid end to end: documents isolated, positions from 0 in each, each document's first label ignored.
Batch make_batch(const Dataset& dataset, std::span<const int64_t> rows);

}  // namespace nibble::data
