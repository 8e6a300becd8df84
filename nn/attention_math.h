// Index arithmetic of causal attention with a sliding window, in positions inside one document.
#pragma once

#include <algorithm>
#include <cstdint>

namespace nibble::nn {

// First key that query i sees.
inline int64_t first_key(int64_t i, int64_t window) { return window > 0 ? std::max<int64_t>(0, i - window + 1) : 0; }

// One past the last query that sees key j.
inline int64_t end_query(int64_t j, int64_t window, int64_t tokens) {
  return window > 0 ? std::min(tokens, j + window) : tokens;
}

}  // namespace nibble::nn
