// The gradient's norm and a step's head on CUDA, in the order of summation of optim/clip_math.h.
#include <stdexcept>

#include "gpu/launch.cuh"
#include "optim/clip_launch.h"

namespace nibble::optim {
namespace {

// The tree of optim/clip_math.h over all threads of a block; the sum is thread 0's.
__device__ double tree_sum(double lane_sum) {
  __shared__ double lanes[kChunkThreads];
  const int thread = static_cast<int>(threadIdx.x);
  lanes[thread] = lane_sum;
  for (int stride = kChunkThreads / 2; stride > 0; stride /= 2) {
    __syncthreads();
    if (thread < stride) lanes[thread] += lanes[thread + stride];
  }
  return lanes[thread];
}

__global__ void __launch_bounds__(kChunkThreads) gradient_norm_kernel(GradientNormLaunch launch) {
  const UpdateChunk chunk = launch.chunks[blockIdx.x];
  const UpdateSegment& segment = launch.segments[chunk.segment];
  const float* gradient = segment.gradient + chunk.begin;
  const int count = chunk_count(segment, chunk), thread = static_cast<int>(threadIdx.x);
  double sum = 0.0;
#pragma unroll
  for (int round = 0; round < kChunkRounds; ++round) {
    const int i = chunk_element(thread, round);
    const double value = i < count ? static_cast<double>(gradient[i]) : 0.0;
    sum += value * value;
  }
  sum = tree_sum(sum);
  if (thread == 0) launch.chunk_sums[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kChunkThreads) begin_step_kernel(BeginStepLaunch launch) {
  const int thread = static_cast<int>(threadIdx.x);
  double sum = 0.0;
  for (int64_t chunk = thread; chunk < launch.chunk_count; chunk += kChunkThreads) sum += launch.chunk_sums[chunk];
  sum = tree_sum(sum);
  if (thread == 0) begin_step(launch.numbers, sum, *launch.state);
}

}  // namespace

void gradient_norm_cuda(const GradientNormLaunch& launch, void* stream) {
  if (launch.segments == nullptr || launch.chunks == nullptr || launch.chunk_sums == nullptr) {
    throw std::invalid_argument("gradient_norm_cuda: a pointer is null");
  }
  gpu::launch(chunk_shape(launch.chunk_count), stream, gradient_norm_kernel, launch);
}

void begin_step_cuda(const BeginStepLaunch& launch, void* stream) {
  if (launch.state == nullptr || (launch.chunk_count > 0 && launch.chunk_sums == nullptr)) {
    throw std::invalid_argument("begin_step_cuda: a pointer is null");
  }
  gpu::launch(chunk_shape(1), stream, begin_step_kernel, launch);
}

}  // namespace nibble::optim
