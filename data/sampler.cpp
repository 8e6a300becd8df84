#include "data/sampler.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "data/epoch_order.h"

namespace nibble::data {
namespace {

// What of a mapped file may stay in memory between batches, and what a document brings there: its bytes, and the pages around the
// first one that the kernel maps with it.
constexpr int64_t kMappedBytes = int64_t{16} << 20;
constexpr int64_t kAroundBytes = int64_t{64} << 10;

void append(const Dataset& dataset, int64_t document, Batch& batch) {
  const auto ids = dataset.ids(document);
  batch.ids.insert(batch.ids.end(), ids.begin(), ids.end());
  batch.labels.push_back(kIgnoredLabel);
  for (size_t t = 1; t < ids.size(); ++t) {
    const bool trained = dataset.is_trained(document, static_cast<int64_t>(t));
    batch.labels.push_back(trained ? ids[t] : kIgnoredLabel);
    batch.trained_tokens += trained;
  }
  batch.positions.resize(batch.ids.size());
  std::iota(batch.positions.end() - static_cast<int64_t>(ids.size()), batch.positions.end(), 0);
  batch.document_starts.push_back(static_cast<int32_t>(batch.ids.size()));
}

}  // namespace

Batch make_batch(const Dataset& dataset, std::span<const int64_t> rows) {
  Batch batch;
  batch.document_starts.push_back(0);
  for (const int64_t row : rows) {
    for (const int64_t document : dataset.row(row)) append(dataset, document, batch);
  }
  return batch;
}

BatchStream::BatchStream(const Dataset& dataset, int64_t rows_per_batch, uint64_t seed, bool shuffle, BatchOrder order)
    : dataset_(&dataset), rows_per_batch_(rows_per_batch), seed_(seed), shuffle_(shuffle), order_rules_(order) {
  if (dataset.rows() == 0) throw DataError("the dataset has no rows to train on");
}

void BatchStream::draw_order() {
  const bool same_every_epoch = !shuffle_ && order_epoch_ >= 0;
  if (order_epoch_ != cursor_.epoch && !same_every_epoch) order_ = epoch_order(*dataset_, seed_, cursor_.epoch, shuffle_, order_rules_.group_rows);
  order_epoch_ = cursor_.epoch;
}

int64_t BatchStream::end_of_next() const { return std::min(cursor_.row + rows_of_all(), dataset_->rows()); }

std::vector<int64_t> BatchStream::next_rows() {
  draw_order();
  const int64_t end = end_of_next();
  std::vector<int64_t> rows;
  const int64_t past = cursor_.row % order_rules_.world;  // of a run that had another number of ranks before
  for (int64_t i = cursor_.row + (order_rules_.rank - past + order_rules_.world) % order_rules_.world; i < end; i += order_rules_.world) {
    rows.push_back(order_[static_cast<size_t>(i)]);
  }
  return rows;
}

std::vector<int64_t> BatchStream::next_documents() {
  std::vector<int64_t> documents;
  for (const int64_t row : next_rows()) {
    const auto of_row = dataset_->row(row);
    documents.insert(documents.end(), of_row.begin(), of_row.end());
  }
  return documents;
}

Batch BatchStream::next() {
  Batch batch = make_batch(*dataset_, next_rows());
  release(batch);
  cursor_.row = end_of_next();
  if (cursor_.row == dataset_->rows()) cursor_ = {cursor_.epoch + 1, 0};
  return batch;
}

void BatchStream::release(const Batch& batch) {
  mapped_bytes_ += batch.tokens() * static_cast<int64_t>(sizeof(int32_t)) + kAroundBytes * static_cast<int64_t>(batch.document_starts.size());
  if (mapped_bytes_ < kMappedBytes) return;
  dataset_->release_pages();
  mapped_bytes_ = 0;
}

int64_t BatchStream::batches_per_epoch() const { return (dataset_->rows() + rows_of_all() - 1) / rows_of_all(); }

int64_t BatchStream::batches_left_in_epoch() const { return (dataset_->rows() - cursor_.row + rows_of_all() - 1) / rows_of_all(); }

void BatchStream::seek(Cursor cursor) {
  if (cursor.epoch < 0 || cursor.row < 0 || cursor.row >= dataset_->rows()) {
    throw DataError(fmt::format("the saved position (epoch {}, row {}) does not lie in this dataset of {} rows: the data changed "
                                "since the checkpoint", cursor.epoch, cursor.row, dataset_->rows()));
  }
  cursor_ = cursor;
}

}  // namespace nibble::data
