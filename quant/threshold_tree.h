// Finding a code by thresholds without branches: a binary search tree in heap order. Node 1 is the root, the children of n are
// 2n and 2n+1. Descending by n = 2n + (x > tree[n]) ends, after all levels, at N + 1 + (how many thresholds are below x).
// C++17, for the CUDA compiler.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/host_device.h"
#include "quant/codebook.h"

namespace nibble::quant {

template <size_t N>
constexpr std::array<float, N + 1> threshold_tree(const std::array<float, N>& sorted) {
  std::array<float, N + 1> tree{};
  for (size_t node = 1; node <= N; ++node) {
    size_t level_begin = 1;
    while (level_begin * 2 <= node) level_begin *= 2;
    const size_t stride = (N + 1) / level_begin;
    tree[node] = sorted[stride / 2 + (node - level_begin) * stride - 1];
  }
  return tree;
}
alignas(64) inline constexpr auto kNf4Tree = threshold_tree(kNf4Thresholds);  // [16], entry 0 unused
alignas(32) inline constexpr auto kFp4Tree = threshold_tree(kFp4Thresholds);  // [8], entry 0 unused

// How many thresholds are below x (NaN: none). The tree has `size` entries, a power of two.
NIBBLE_HOST_DEVICE inline uint32_t count_below(const float* tree, uint32_t size, float x) {
  uint32_t node = 1;
  while (node < size) node = 2 * node + (x > tree[node] ? 1u : 0u);
  return node - size;
}

}  // namespace nibble::quant
