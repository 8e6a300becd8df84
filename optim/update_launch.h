// The launch lines of the optimizers on CUDA: all parameters of a window in one launch, with the step's numbers read from
// device memory. Plain C++17 without CUDA's headers.
//
// A block of threads takes one chunk of one parameter. fp32 state: a thread takes an element a round (chunk_element). 8-bit
// state: a warp takes a block of kMomentBlock values at a time, which its lanes keep in registers from decoding to encoding,
// so that the block's new scale is a reduction within the warp.
#pragma once

#include "optim/clip_launch.h"
#include "optim/moment8_math.h"

namespace nibble::optim {

// All pointers are device memory. REQUIRES chunk_count >= 1; tables where a segment has 8-bit state.
struct UpdateLaunch {
  const UpdateSegment* segments = nullptr;
  const UpdateChunk* chunks = nullptr;     // [chunk_count]
  int64_t chunk_count = 0;
  std::byte* window = nullptr;             // where the arena's byte window_offset lies
  int64_t window_offset = 0;
  const StepState* state = nullptr;        // by begin_step_cuda; with a refused step nothing is changed
  const MomentTables* tables = nullptr;    // null: all state is fp32
};

// Bit for bit as adamw_torch_cpu, adamw_bnb_cpu, lion_cpu on every chunk. Asynchronous on `stream` (a cudaStream_t; null: the
// default stream). THROWS nibble::CudaError, std::invalid_argument. They live in the CUDA module.
void adamw_torch_cuda(const UpdateLaunch& launch, void* stream);  // fp32 state only
void adamw_bnb_cuda(const UpdateLaunch& launch, void* stream);
void lion_cuda(const UpdateLaunch& launch, void* stream);

// Geometry of 8-bit state within a chunk.
inline constexpr int kChunkWarps = kChunkThreads / gpu::kWarpThreads;
inline constexpr int kWarpBlocks = kChunkElements / kMomentBlock / kChunkWarps;  // blocks of values that a warp takes
inline constexpr int kLaneElements = kMomentBlock / gpu::kWarpThreads;           // of each block, by a lane

NIBBLE_HOST_DEVICE inline int moment_block(int warp, int round) { return round * kChunkWarps + warp; }
NIBBLE_HOST_DEVICE inline int moment_element(int lane, int round) { return round * gpu::kWarpThreads + lane; }

}  // namespace nibble::optim
