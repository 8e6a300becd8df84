#include "data/packing.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace nibble::data {
namespace {

// Free room of rows 0..n-1, all empty at first; finds the first with room enough.
class FreeRoom {
 public:
  FreeRoom(size_t rows, int64_t capacity) : leaves_(std::bit_ceil(std::max<size_t>(rows, 1))), most_(2 * leaves_, capacity) {}

  // REQUIRES that a row with room exists.
  size_t take_first(int64_t length) {
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
    return row;
  }

 private:
  size_t leaves_;
  std::vector<int64_t> most_;  // of a node's leaves
};

}  // namespace

std::vector<std::vector<int64_t>> pack_first_fit_decreasing(std::span<const int64_t> lengths, int64_t capacity) {
  std::vector<int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
  // No more rows than documents; an untouched row is an open one of full capacity.
  FreeRoom room(lengths.size(), capacity);
  std::vector<std::vector<int64_t>> rows;
  for (const int64_t document : order) {
    const size_t row = room.take_first(lengths[document]);
    if (row == rows.size()) rows.emplace_back();
    rows[row].push_back(document);
  }
  return rows;
}

}  // namespace nibble::data
