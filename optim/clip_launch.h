// The launch lines of the gradient's norm and of a step's head on CUDA. Plain C++17 without CUDA's headers.
//
// Two launches and no round trip: each chunk of every gradient becomes one sum, then one block adds the sums in a fixed order
// and leaves clip factor and scalars in device memory, where the update reads them.
#pragma once

#include "optim/step_math.h"
#include "optim/update_table.h"

namespace nibble::optim {

// All pointers are device memory. REQUIRES chunk_count >= 1.
struct GradientNormLaunch {
  const UpdateSegment* segments = nullptr;
  const UpdateChunk* chunks = nullptr;  // [chunk_count]
  int64_t chunk_count = 0;
  double* chunk_sums = nullptr;         // [chunk_count], written: sums of squares
};

// As chunk_square_sum_cpu for every chunk, bit for bit. Asynchronous on `stream` (a cudaStream_t; null: the default stream).
// THROWS nibble::CudaError, std::invalid_argument. Lives in the CUDA module, as the next one does.
void gradient_norm_cuda(const GradientNormLaunch& launch, void* stream);

struct BeginStepLaunch {
  const double* chunk_sums = nullptr;  // [chunk_count]; 0 chunks: the gradient's norm is 0
  int64_t chunk_count = 0;
  StepNumbers numbers;
  StepState* state = nullptr;          // read and written
};

// As total_square_sum_cpu and begin_step, bit for bit.
void begin_step_cuda(const BeginStepLaunch& launch, void* stream);

// Geometry: one block of kChunkThreads a chunk, and one block for the sums.
inline gpu::LaunchShape chunk_shape(int64_t chunk_count) { return gpu::launch_shape(chunk_count, 1, kChunkThreads); }

// Within a chunk: the element that a thread takes in a round. Neighbours of a warp take neighbouring elements.
inline constexpr int kChunkRounds = kChunkElements / kChunkThreads;
NIBBLE_HOST_DEVICE inline int chunk_element(int thread, int round) { return round * kChunkThreads + thread; }

}  // namespace nibble::optim
