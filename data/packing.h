// Which documents share a row.
//
// First-fit decreasing: longest first, equal lengths in the order given, each into the first row that has room. Rows stand
// in the order they were opened. The result depends on the lengths alone. A segment tree over the rows' free room finds
// the first that fits in log time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace nibble::data {

// rows[r] lists documents in the order they are laid. REQUIRES 1 <= length <= capacity for each.
std::vector<std::vector<int64_t>> pack_first_fit_decreasing(std::span<const int64_t> lengths, int64_t capacity);

}  // namespace nibble::data
