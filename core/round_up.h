// Sizes that must be multiples of something.
#pragma once

#include <cstdint>

namespace nibble {

// The least multiple of `step` that is not below n. REQUIRES n >= 0, step > 0.
constexpr int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// How many steps that takes.
constexpr int64_t ceil_div(int64_t n, int64_t step) { return (n + step - 1) / step; }

}  // namespace nibble
