// The launch line of rotary position embedding on CUDA, and the kernel's geometry. Plain C++17 without CUDA's headers.
#pragma once

#include <cstdint>

#include "gpu/launch.h"
#include "nn/rope_cpu.h"
#include "nn/rows_launch.h"

namespace nibble::nn {

// Elements are bf16 or fp32; all pointers are device memory. No tokens: nothing is done.
// REQUIRES heads, half >= 1; every position inside the table (the caller checked them before they went to the device).
struct RopeLaunch {
  RopeRows<void> rows{};
  int64_t tokens = 0;
  bool is_bf16 = true;
};

// Rotates in place as rope_cpu. Asynchronous on `stream` (a cudaStream_t). Lives in the CUDA module.
// NUMERICS bit for bit as on the CPU. THROWS nibble::CudaError, std::invalid_argument.
void rope_cuda(const RopeLaunch& launch, void* stream);

// Geometry. A thread takes eight pairs (eight elements of a head's lower half and the eight that rotate with them) of four
// heads: their cosines and sines are loaded and rounded once. A block takes whole tokens.
inline constexpr int kRopeThreads = 256;
inline constexpr int kRopeHeads = 4;

struct RopeTiles {
  int units;             // of half a head
  int items;             // of a token: units times groups of heads
  int tokens_per_block;
};

// REQUIRES heads * half < 2^31.
inline RopeTiles rope_tiles(int64_t heads, int64_t half) {
  const auto units = static_cast<int>((half - 1) / kUnitElements + 1);
  const int items = units * static_cast<int>((heads - 1) / kRopeHeads + 1);
  return {units, items, items < kRopeThreads ? kRopeThreads / items : 1};
}

inline gpu::LaunchShape rope_shape(const RopeTiles& tiles, int64_t tokens) {
  return gpu::launch_shape(tokens, tiles.tokens_per_block, kRopeThreads);
}

struct RopeItem {
  int token;       // of the block
  int first_head;
  int unit;        // of half a head
};

// A thread takes the items thread, thread + kRopeThreads, ... below tokens_per_block * items.
NIBBLE_HOST_DEVICE inline RopeItem rope_item(const RopeTiles& tiles, int item) {
  const int token = item / tiles.items, rest = item % tiles.items;
  return {token, rest / tiles.units * kRopeHeads, rest % tiles.units};
}

}  // namespace nibble::nn
