#include "data/sampler.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"

namespace nibble::data {

Batch make_batch(const Dataset& dataset, std::span<const int64_t> rows) {
  Batch batch;
  batch.document_starts.push_back(0);
  for (const int64_t row : rows) {
    for (const int64_t document : dataset.row(row)) {
      const auto ids = dataset.ids(document);
      const auto labels = dataset.labels(document);
      batch.ids.insert(batch.ids.end(), ids.begin(), ids.end());
      batch.labels.push_back(kIgnoredLabel);
      batch.labels.insert(batch.labels.end(), labels.begin() + 1, labels.end());
      batch.positions.resize(batch.ids.size());
      std::iota(batch.positions.end() - static_cast<int64_t>(ids.size()), batch.positions.end(), 0);
      batch.document_starts.push_back(static_cast<int32_t>(batch.ids.size()));
    }
  }
  batch.trained_tokens = std::count_if(batch.labels.begin(), batch.labels.end(), [](int32_t label) { return label != kIgnoredLabel; });
  return batch;
}

BatchStream::BatchStream(const Dataset& dataset, int64_t rows_per_batch, uint64_t seed, bool shuffle)
    : dataset_(&dataset), rows_per_batch_(rows_per_batch), seed_(seed), shuffle_(shuffle) {
  if (dataset.rows() == 0) throw DataError("the dataset has no rows to train on");
}

void BatchStream::draw_order() {
  if (order_epoch_ == cursor_.epoch) return;
  if (shuffle_) {
    order_ = random_permutation({seed_, RngPurpose::kShuffle, static_cast<uint64_t>(cursor_.epoch)}, dataset_->rows());
  } else if (order_.empty()) {
    order_.resize(dataset_->rows());
    std::iota(order_.begin(), order_.end(), int64_t{0});
  }
  order_epoch_ = cursor_.epoch;
}

Batch BatchStream::next() {
  draw_order();
  const int64_t count = std::min(rows_per_batch_, dataset_->rows() - cursor_.row);
  const Batch batch = make_batch(*dataset_, std::span(order_).subspan(cursor_.row, count));
  cursor_.row += count;
  if (cursor_.row == dataset_->rows()) cursor_ = {cursor_.epoch + 1, 0};
  return batch;
}

int64_t BatchStream::batches_per_epoch() const { return (dataset_->rows() + rows_per_batch_ - 1) / rows_per_batch_; }

int64_t BatchStream::batches_left_in_epoch() const {
  return (dataset_->rows() - cursor_.row + rows_per_batch_ - 1) / rows_per_batch_;
}

void BatchStream::seek(Cursor cursor) {
  if (cursor.epoch < 0 || cursor.row < 0 || cursor.row >= dataset_->rows()) {
    throw DataError(fmt::format("the saved position (epoch {}, row {}) does not lie in this dataset of {} rows: the data changed "
                                "since the checkpoint", cursor.epoch, cursor.row, dataset_->rows()));
  }
  cursor_ = cursor;
}

}  // namespace nibble::data
