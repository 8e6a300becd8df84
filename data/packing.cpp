#include "data/packing.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <numeric>

#include "core/error.h"

namespace nibble::data {
namespace {

// Indices of the documents, longest first, by counting: lengths are small numbers, and there may be millions of them.
std::vector<int32_t> longest_first(std::span<const int32_t> lengths, int64_t capacity) {
  std::vector<int64_t> begin(static_cast<size_t>(capacity) + 1, 0);  // begin[capacity - length]: where documents of this length start
  for (const int32_t length : lengths) ++begin[static_cast<size_t>(capacity - length) + 1];
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  std::vector<int32_t> order(lengths.size());
  for (size_t d = 0; d < lengths.size(); ++d) order[begin[static_cast<size_t>(capacity - lengths[d])]++] = static_cast<int32_t>(d);
  return order;
}

// More rows than these are never open: no two of them are at most half full, except for the last.
size_t most_rows(std::span<const int32_t> lengths, int64_t capacity) {
  const int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  return std::min(lengths.size(), static_cast<size_t>(2 * tokens / capacity + 1));
}

// Free room of rows 0..n-1, all empty at first, in a tree of maxima: finds the first with room enough.
class FirstFit {
 public:
  FirstFit(size_t rows, int64_t capacity) : leaves_(std::bit_ceil(std::max<size_t>(rows, 1))), most_(2 * leaves_, static_cast<int32_t>(capacity)) {}

  // The row that takes a document. An untouched row is an open one of full capacity.
  int32_t take(int32_t length) {
    size_t node = 1;
    while (node < leaves_) {
      node *= 2;
      if (most_[node] < length) ++node;
    }
    const size_t row = node - leaves_;
    most_[node] -= length;
    while (node > 1) {
      node /= 2;
      most_[node] = std::max(most_[2 * node], most_[2 * node + 1]);
    }
    return static_cast<int32_t>(row);
  }

 private:
  size_t leaves_;
  std::vector<int32_t> most_;  // of a node's leaves
};

// Open rows by their free room: a heap of rows for each amount, and a tree of bits that finds the least amount there is.
class BestFit {
 public:
  explicit BestFit(int64_t capacity) : rows_(static_cast<size_t>(capacity) + 1) {
    for (size_t bits = rows_.size(); levels_.empty() || bits > 1; bits = (bits + 63) / 64) levels_.emplace_back((bits + 63) / 64, 0);
    capacity_ = static_cast<int32_t>(capacity);
  }

  int32_t take(int32_t length) {
    const int64_t room = least_from(static_cast<size_t>(length));
    int32_t row = opened_;
    int32_t left = capacity_ - length;
    if (room < 0) {
      ++opened_;
    } else {
      row = pop(static_cast<size_t>(room));
      left = static_cast<int32_t>(room) - length;
    }
    if (left > 0) push(static_cast<size_t>(left), row);
    return row;
  }

 private:
  void push(size_t room, int32_t row) {
    rows_[room].push_back(row);
    std::push_heap(rows_[room].begin(), rows_[room].end(), std::greater<>());
    for (auto& level : levels_) {
      level[room / 64] |= uint64_t{1} << (room % 64);
      room /= 64;
    }
  }
  // The first of the rows with this much room.
  int32_t pop(size_t room) {
    std::pop_heap(rows_[room].begin(), rows_[room].end(), std::greater<>());
    const int32_t row = rows_[room].back();
    rows_[room].pop_back();
    if (!rows_[room].empty()) return row;
    for (auto& level : levels_) {
      level[room / 64] &= ~(uint64_t{1} << (room % 64));
      if (level[room / 64] != 0) break;
      room /= 64;
    }
    return row;
  }
  // The least room of at least `room` that a row has; -1: none has.
  int64_t least_from(size_t room) const {
    size_t at = room;  // at each level the first place that counts
    for (size_t level = 0; level < levels_.size(); ++level) {
      if (at / 64 >= levels_[level].size()) return -1;
      const uint64_t bits = levels_[level][at / 64] >> (at % 64) << (at % 64);
      if (bits == 0) {
        at = at / 64 + 1;
        continue;
      }
      at = at / 64 * 64 + static_cast<size_t>(std::countr_zero(bits));
      while (level > 0) {
        --level;
        at = at * 64 + static_cast<size_t>(std::countr_zero(levels_[level][at]));
      }
      return static_cast<int64_t>(at);
    }
    return -1;
  }

  std::vector<std::vector<int32_t>> rows_;     // [capacity + 1] heaps, the lowest row on top
  std::vector<std::vector<uint64_t>> levels_;  // bit i of level k: some of the 64^k amounts from i * 64^k has rows
  int32_t opened_ = 0;
  int32_t capacity_ = 0;
};

// Documents by row, from the row of each.
PackedRows by_row(const std::vector<int32_t>& order, const std::vector<int32_t>& row_of) {
  const int32_t rows = row_of.empty() ? 0 : *std::max_element(row_of.begin(), row_of.end()) + 1;
  PackedRows packed;
  packed.starts.assign(static_cast<size_t>(rows) + 1, 0);
  for (const int32_t row : row_of) ++packed.starts[static_cast<size_t>(row) + 1];
  std::partial_sum(packed.starts.begin(), packed.starts.end(), packed.starts.begin());
  std::vector<int64_t> next(packed.starts.begin(), packed.starts.end() - 1);
  packed.documents.resize(order.size());
  for (size_t i = 0; i < order.size(); ++i) packed.documents[next[row_of[i]]++] = order[i];
  return packed;
}

}  // namespace

PackedRows pack_rows(std::span<const int32_t> lengths, int64_t capacity, PackingStrategy strategy) {
  if (lengths.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    throw DataError(fmt::format("{} documents are more than can be packed (2^31 - 1): set packing: false", lengths.size()));
  }
  const std::vector<int32_t> order = longest_first(lengths, capacity);
  std::vector<int32_t> row_of(order.size());  // in the order they come
  const auto place = [&](auto rows) {
    for (size_t i = 0; i < order.size(); ++i) row_of[i] = rows.take(lengths[order[i]]);
  };
  switch (strategy) {
    case PackingStrategy::kFfd: place(FirstFit(most_rows(lengths, capacity), capacity)); break;
    case PackingStrategy::kBfd: place(BestFit(capacity)); break;
  }
  return by_row(order, row_of);
}

PackedRows one_a_row(int64_t documents) {
  PackedRows packed;
  packed.starts.resize(static_cast<size_t>(documents) + 1);
  std::iota(packed.starts.begin(), packed.starts.end(), int64_t{0});
  packed.documents.assign(packed.starts.begin(), packed.starts.end() - 1);
  return packed;
}

}  // namespace nibble::data
