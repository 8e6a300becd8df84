// Launch geometry: how many blocks a one-dimensional kernel needs and which items each of them owns. Host and device code
// of .cu files and plain C++ alike (C++17), so that tests walk through it without a GPU.
//
// Item numbers are 64-bit at block level: a tensor of five billion elements is no special case. Within a block's tile,
// 32 bits are enough.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "core/host_device.h"

namespace nibble::gpu {

inline constexpr int64_t kMaxGridBlocks = 2147483647;  // gridDim.x of every architecture since 3.0
inline constexpr int kWarpThreads = 32;

struct LaunchShape {
  unsigned blocks;
  unsigned threads;       // a block
  unsigned blocks_y = 1;  // a second dimension of the grid, at most 65535
};

// Blocks of `threads` threads that each own a tile of `tile_items` items. THROWS std::invalid_argument unless
// items >= 1 and the grid is one that CUDA can launch.
inline LaunchShape launch_shape(int64_t items, int64_t tile_items, int threads) {
  if (items < 1 || tile_items < 1 || threads < kWarpThreads || threads > 1024 || threads % kWarpThreads != 0) {
    throw std::invalid_argument("launch shape: " + std::to_string(items) + " items in tiles of " +
                                std::to_string(tile_items) + " for blocks of " + std::to_string(threads) + " threads");
  }
  const int64_t blocks = (items - 1) / tile_items + 1;
  if (blocks > kMaxGridBlocks) {
    throw std::invalid_argument("launch shape: " + std::to_string(items) + " items need " + std::to_string(blocks) +
                                " blocks; a grid has at most " + std::to_string(kMaxGridBlocks));
  }
  return {static_cast<unsigned>(blocks), static_cast<unsigned>(threads)};
}

// The first item of a block's tile, and how many of the tile's items exist.
NIBBLE_HOST_DEVICE inline int64_t tile_begin(unsigned block, int tile_items) {
  return static_cast<int64_t>(block) * tile_items;
}
NIBBLE_HOST_DEVICE inline int tile_count(unsigned block, int tile_items, int64_t items) {
  const int64_t left = items - tile_begin(block, tile_items);
  return static_cast<int>(left < tile_items ? left : tile_items);
}

}  // namespace nibble::gpu
