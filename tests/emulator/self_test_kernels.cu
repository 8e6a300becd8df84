#include "tests/emulator/self_test_kernels.h"

#include "gpu/launch.cuh"

namespace nibble::emulator {
namespace {

constexpr int kThreads = 64;

__global__ void add_neighbours_kernel(const int* in, int* out, int64_t n, Mistake mistake) {
  __shared__ int values[kThreads + 1];
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + thread;
  values[thread] = 0;
  __syncthreads();
  values[thread] = in[mistake == Mistake::kReadPastTheEnd ? i + 1 : i];
  if (mistake == Mistake::kDivergentBarrier && thread >= kThreads / 2) return;
  if (mistake != Mistake::kMissingBarrier) __syncthreads();  // else: another's number, or still the zero
  int sum = values[thread] + values[(thread + kThreads / 2) % kThreads];
  if (mistake == Mistake::kUninitializedShared && thread == 7) sum += values[kThreads];
  if (mistake == Mistake::kDivergentWarp && thread % 32 != 5) sum += __shfl_xor_sync(0xFFFFFFFFu, 0, 1);
  if (mistake == Mistake::kLaneOutsideMask && thread % 32 < 16) sum += __shfl_sync(0x0000FFFFu, 0, 20);
  if (mistake == Mistake::kEndlessWait && thread == 0) {
    while (static_cast<volatile int*>(out)[n - 1] != 12345) __nanosleep(100);
  }
  if (mistake == Mistake::kWriteBeforeTheBeginning && i == 0) out[-1] = 1;
  out[mistake == Mistake::kWritePastTheEnd ? i + 1 : i] = sum;
}

__global__ void operations_kernel(unsigned* out) {
  const int thread = static_cast<int>(threadIdx.x);
  const unsigned all = 0xFFFFFFFFu;
  unsigned* mine = out + thread * kOperations;
  const unsigned value = 1000 + threadIdx.x;
  mine[0] = __shfl_sync(all, value, 3);
  mine[1] = __shfl_sync(all, value, 9, 8);
  mine[2] = __shfl_up_sync(all, value, 1);
  mine[3] = __shfl_down_sync(all, value, 4, 8);
  mine[4] = __shfl_xor_sync(all, value, 16);
  mine[5] = __ballot_sync(all, thread % 2);
  mine[6] = static_cast<unsigned>(__any_sync(all, thread == 40));
  mine[7] = static_cast<unsigned>(__all_sync(all, thread < 32));
  // A half warp on its own.
  mine[8] = thread % 32 < 16 ? __shfl_xor_sync(0x0000FFFFu, value, 1) : 0;
  __syncwarp();
  mine[9] = static_cast<unsigned>(__shfl_down_sync(all, static_cast<double>(value), 1));
  mine[10] = static_cast<unsigned>(__popc(__float_as_uint(__fmul_rn(1.5f, 2.0f))));
  mine[11] = static_cast<unsigned>(max(min(thread, 50), 10)) + blockDim.x + gridDim.x;
}

__global__ void number_grid_kernel(int* grid) {
  if (threadIdx.x == 0) grid[blockIdx.y * gridDim.x + blockIdx.x] = static_cast<int>(100 * blockIdx.y + blockIdx.x);
}

__device__ int deep(volatile int* p, int depth) {
  volatile int block[256];
  block[depth % 256] = depth;
  return depth == 0 ? *p : deep(p, depth - 1) + block[depth % 256];
}
__global__ void overrun_stack_kernel(int* out) { *out = deep(out, 100000); }

__global__ void count_threads_kernel(unsigned* counter) { atomicAdd(counter, 1u); }

}  // namespace

void add_neighbours(const int* in, int* out, int64_t n, Mistake mistake, void* stream) {
  gpu::launch(gpu::launch_shape(n, kThreads, kThreads), stream, add_neighbours_kernel, in, out, n, mistake);
}

void run_operations(unsigned* out, void* stream) {
  gpu::launch(gpu::LaunchShape{1, kThreads}, stream, operations_kernel, out);
}

void number_grid(int* grid, unsigned width, unsigned height, void* stream) {
  gpu::launch(gpu::LaunchShape{width, 32, height}, stream, number_grid_kernel, grid);
}

void overrun_stack(int* out, void* stream) { gpu::launch(gpu::LaunchShape{1, 32}, stream, overrun_stack_kernel, out); }

void count_threads(unsigned* counter, unsigned blocks, void* stream) {
  gpu::launch(gpu::LaunchShape{blocks, 256}, stream, count_threads_kernel, counter);
}

}  // namespace nibble::emulator
