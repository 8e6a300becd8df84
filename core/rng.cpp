#include "core/rng.h"

#include <cstddef>
#include <numeric>
#include <utility>

namespace nibble {

std::vector<int64_t> random_permutation(const RngKey& key, int64_t n) {
  std::vector<int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (int64_t i = n - 1; i > 0; --i) {
    const auto j = random_below(key, static_cast<uint64_t>(i), static_cast<uint64_t>(i) + 1);
    std::swap(order[static_cast<std::size_t>(i)], order[j]);
  }
  return order;
}

}  // namespace nibble
