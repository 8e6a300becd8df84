// Sizes of the blockwise storage (quant/layout.h) that code without LibTorch needs too.
#pragma once

#include <cstdint>

namespace nibble::quant {

inline constexpr int64_t kNestedBlocksize = 256;   // scales that share a nested scale
inline constexpr int64_t kSmallestBlocksize = 32;  // block sizes are powers of two
inline constexpr int64_t kLargestBlocksize = 4096;

}  // namespace nibble::quant
