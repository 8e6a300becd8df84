#include "data/epoch_order.h"

#include <algorithm>
#include <numeric>

#include "core/rng.h"

namespace nibble::data {
namespace {

constexpr int64_t kMostGroups = 50;    // of a stretch
constexpr int64_t kFewestStretches = 4;

void group_by_length(const Dataset& dataset, int64_t group_rows, std::vector<int64_t>& order) {
  const auto n = static_cast<int64_t>(order.size());
  const int64_t groups = std::clamp<int64_t>(n / (group_rows * kFewestStretches), 1, kMostGroups);
  const int64_t stretch = groups * group_rows;
  int64_t longest = 0;  // where the longest row stands: every stretch begins with its own
  for (int64_t begin = 0; begin < n; begin += stretch) {
    const auto first = order.begin() + begin, last = order.begin() + std::min(n, begin + stretch);
    std::stable_sort(first, last, [&](int64_t a, int64_t b) { return dataset.row_tokens(a) > dataset.row_tokens(b); });
    if (dataset.row_tokens(order[static_cast<size_t>(begin)]) > dataset.row_tokens(order[static_cast<size_t>(longest)])) longest = begin;
  }
  std::swap(order.front(), order[static_cast<size_t>(longest)]);
}

}  // namespace

std::vector<int64_t> epoch_order(const Dataset& dataset, uint64_t seed, int64_t epoch, bool shuffle, int64_t group_rows) {
  std::vector<int64_t> order;
  if (shuffle) {
    order = random_permutation({seed, RngPurpose::kShuffle, static_cast<uint64_t>(epoch)}, dataset.rows());
  } else {
    order.resize(static_cast<size_t>(dataset.rows()));
    std::iota(order.begin(), order.end(), int64_t{0});
  }
  if (group_rows > 0 && !order.empty()) group_by_length(dataset, group_rows, order);
  return order;
}

}  // namespace nibble::data
