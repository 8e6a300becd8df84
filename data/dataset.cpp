#include "data/dataset.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"
#include "data/packing.h"

namespace nibble::data {

Dataset::Dataset(const std::vector<Sample>& documents, int64_t capacity, bool packing) {
  for (const Sample& document : documents) {
    const auto length = static_cast<int64_t>(document.ids.size());
    if (length < 1 || length > capacity || document.labels.size() != document.ids.size()) {
      throw DataError(fmt::format("document {} has {} tokens and {} labels: a row holds 1 to {} tokens, with a label each", this->documents(),
                                  length, document.labels.size(), capacity));
    }
    add(document.ids, document.labels);
  }
  stats.examples = this->documents();
  pack(capacity, packing);
}

void Dataset::add(std::span<const int32_t> ids, std::span<const int32_t> labels) {
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  labels_.insert(labels_.end(), labels.begin(), labels.end());
  starts_.push_back(static_cast<int64_t>(ids_.size()));
}

void Dataset::pack(int64_t capacity, bool packing) {
  capacity_ = capacity;
  packing_ = packing;
  rows_.clear();
  std::vector<int64_t> lengths(documents());
  for (int64_t d = 0; d < documents(); ++d) lengths[d] = starts_[d + 1] - starts_[d];
  if (packing) {
    rows_ = pack_first_fit_decreasing(lengths, capacity);
  } else {
    for (int64_t d = 0; d < documents(); ++d) rows_.push_back({d});
  }
  stats.documents = documents();
  stats.rows = rows();
  stats.tokens = static_cast<int64_t>(ids_.size());
  stats.trained_tokens = 0;
  for (int64_t d = 0; d < documents(); ++d) {
    const auto all = labels(d);
    stats.trained_tokens += std::count_if(all.begin() + 1, all.end(), [](int32_t label) { return label != kIgnoredLabel; });
  }
}

std::pair<Dataset, Dataset> split_dataset(const Dataset& dataset, double ratio, uint64_t seed) {
  const int64_t n = dataset.documents();
  if (!(ratio > 0 && ratio < 1) || n < 2) {
    throw ConfigError(fmt::format("validation_split_ratio = {} of {} documents leaves training or validation without data", ratio, n));
  }
  const int64_t held_out = std::clamp<int64_t>(std::llround(ratio * static_cast<double>(n)), 1, n - 1);
  const auto order = random_permutation({seed, RngPurpose::kSplit, 0}, n);
  std::vector<bool> is_held_out(n, false);
  for (int64_t i = 0; i < held_out; ++i) is_held_out[order[i]] = true;
  std::pair<Dataset, Dataset> parts;
  for (int64_t d = 0; d < n; ++d) (is_held_out[d] ? parts.second : parts.first).add(dataset.ids(d), dataset.labels(d));
  for (Dataset* part : {&parts.first, &parts.second}) {
    part->stats = dataset.stats;
    part->pack(dataset.capacity_, dataset.packing_);
  }
  return parts;
}

}  // namespace nibble::data
