// The launch lines of RMSNorm on CUDA, and the kernels' geometry. Plain C++17 without CUDA's headers.
#pragma once

#include <cstdint>

#include "gpu/launch.h"
#include "nn/rms_norm_cpu.h"
#include "nn/rows_launch.h"

namespace nibble::nn {

// Elements are bf16 or fp32; all pointers are device memory. REQUIRES width in 1..2^31-1; y may be x, dx may be dy or x,
// nothing else overlaps.
struct RmsNormLaunch {
  RmsNormRows<void> rows{};
  int64_t count = 0;  // rows; none: nothing is done
  bool is_bf16 = true;
};
struct RmsNormGradLaunch {
  RmsNormGradRows<void> rows{};
  int64_t count = 0;
  bool is_bf16 = true;
};

// Rows as rms_norm_cpu and rms_norm_backward_cpu. Asynchronous on `stream` (a cudaStream_t). Live in the CUDA module.
// NUMERICS each rounding as on the CPU but for the order of the row's sum, in fp32 up to 16384 elements: a relative error of
// at most 12 * 2^-24 of the sum of the terms' magnitudes, halved in rstd; wider rows add one rounding every 4096 elements.
// THROWS nibble::CudaError, std::invalid_argument.
void rms_norm_cuda(const RmsNormLaunch& launch, void* stream);
void rms_norm_backward_cuda(const RmsNormGradLaunch& launch, void* stream);

// Geometry. A row belongs to a group of lanes; a lane takes units of eight elements, `lanes` units apart, and holds them in
// registers between the pass that sums and the pass that writes. Narrow rows (the norm of a head): a group is 4 to 32 lanes
// of a warp with four rows, so that the fp64 square root and division, slow on most cards, run for many rows at a time.
// Wide rows, and narrow ones whose units are not whole and aligned: a group is a block.
inline constexpr int kNormNarrowUnits = gpu::kWarpThreads;  // the most in a narrow row
inline constexpr int kNormNarrowRows = 4;                   // of a group
inline constexpr int kNormNarrowThreads = 256;
inline constexpr int kNormHeldUnits = 4;                    // of a wide row, by a lane
inline constexpr int kNormMostThreads = 512;

struct NormGeometry {
  int threads;
  int lanes;   // of a group: a power of two within a warp, or all threads
  int units;   // of a row
  int rows;    // of a group

  NIBBLE_HOST_DEVICE int groups() const { return threads / lanes; }
  bool narrow() const { return rows > 1; }
};

// `vector`: units are whole and aligned.
inline NormGeometry norm_geometry(int64_t width, bool vector) {
  const auto units = static_cast<int>((width - 1) / kUnitElements + 1);
  if (vector && units <= kNormNarrowUnits) {
    int lanes = kNormNarrowRows;  // a lane for each row's square root
    while (lanes < units) lanes *= 2;
    return {kNormNarrowThreads, lanes, units, kNormNarrowRows};
  }
  // As many units to a lane as it holds: the more of a row are in flight for each register, and the fewer wait at a barrier.
  int threads = 2 * gpu::kWarpThreads;
  while (threads < kNormMostThreads && threads * kNormHeldUnits < units) threads += gpu::kWarpThreads;
  return {threads, threads, units, 1};
}

inline gpu::LaunchShape norm_shape(const NormGeometry& g, int64_t count) {
  return gpu::launch_shape(count, static_cast<int64_t>(g.groups()) * g.rows, g.threads);
}

// The r-th row of a thread's group. Neighbouring groups have neighbouring rows.
NIBBLE_HOST_DEVICE inline int64_t norm_row(const NormGeometry& g, unsigned block, int thread, int r) {
  return (static_cast<int64_t>(block) * g.rows + r) * g.groups() + thread / g.lanes;
}
NIBBLE_HOST_DEVICE inline int norm_unit(const NormGeometry& g, int thread, int k) { return thread % g.lanes + k * g.lanes; }

}  // namespace nibble::nn
