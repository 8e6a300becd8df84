// The launch lines of the plain element-wise steps around LibTorch's products: sums of gradients and residuals, and scaling.
// Plain C++17 without CUDA's headers.
#pragma once

#include <cstdint>

#include "gpu/launch.h"

namespace nibble::nn {

// y += scale * x over contiguous elements. All pointers are device memory; x is y or does not overlap it.
struct AddScaledPart {
  void* y = nullptr;
  const void* x = nullptr;
  float scale = 1.0f;
  int64_t numel = 0;
};
// Two sums in one launch (an adapter's dA and dB); a part without elements does nothing.
struct AddScaledLaunch {
  AddScaledPart parts[2];
  bool y_is_bf16 = false;  // then x is bf16 too
  bool x_is_bf16 = true;
};

// Asynchronous on `stream` (a cudaStream_t). Lives in the CUDA module, as the next. NUMERICS scale * x + y is rounded once
// (fused, as LibTorch's vectorized add_), to y's dtype over fp32. THROWS nibble::CudaError, std::invalid_argument.
void add_scaled_cuda(const AddScaledLaunch& launch, void* stream);

// x *= factor over contiguous elements, the product in fp32 rounded to the dtype.
struct ScaleLaunch {
  void* x = nullptr;
  float factor = 1.0f;
  int64_t numel = 0;  // none: nothing is done
  bool is_bf16 = true;
};
void scale_cuda(const ScaleLaunch& launch, void* stream);

// Geometry: a thread takes eight elements. The blocks of the second part follow those of the first.
inline constexpr int kElementwiseThreads = 256;
inline constexpr int kElementwiseTile = 8 * kElementwiseThreads;

inline int64_t elementwise_tiles(int64_t numel) { return (numel + kElementwiseTile - 1) / kElementwiseTile; }

// THROWS std::invalid_argument where the grid would be larger than CUDA's, or empty.
inline gpu::LaunchShape add_scaled_shape(int64_t first_numel, int64_t second_numel) {
  return gpu::launch_shape(elementwise_tiles(first_numel) + elementwise_tiles(second_numel), 1, kElementwiseThreads);
}

struct PartTile {
  int part;
  unsigned tile;  // of the part
};
NIBBLE_HOST_DEVICE inline PartTile part_tile(unsigned block, unsigned first_tiles) {
  return block < first_tiles ? PartTile{0, block} : PartTile{1, block - first_tiles};
}

}  // namespace nibble::nn
