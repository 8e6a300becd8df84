// How arenas cut memory, which the memory plan follows take by take (trainer/step_memory).
#pragma once

#include <cstdint>

namespace nibble::nn {

inline constexpr int64_t kArenaAlignment = 64;                // a cache line, and what AVX-512 loads like
inline constexpr int64_t kArenaMinBlock = int64_t{16} << 20;
inline constexpr int64_t kArenaPage = int64_t{2} << 20;       // blocks start and end on huge pages

}  // namespace nibble::nn
