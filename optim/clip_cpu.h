// Sums of squares on the CPU, in the order of optim/clip_math.h.
#pragma once

#include <cstdint>

namespace nibble::optim {

// Of one chunk. REQUIRES 0 <= n <= kChunkElements. NUMERICS the same bits on every vector width.
double chunk_square_sum_cpu(const float* values, int64_t n);

// Of all chunks together.
double total_square_sum_cpu(const double* chunk_sums, int64_t chunks);

}  // namespace nibble::optim
