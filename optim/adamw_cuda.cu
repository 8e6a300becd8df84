// AdamW on CUDA, torch's and bitsandbytes'.
#include "optim/adamw_math.h"
#include "optim/update.cuh"

namespace nibble::optim {
namespace {

__global__ void __launch_bounds__(kChunkThreads) adamw_torch_kernel(UpdateLaunch launch) {
  update_chunk<AdamWTorch, false>(launch);
}

template <bool kEightBit>
__global__ void __launch_bounds__(kChunkThreads) adamw_bnb_kernel(UpdateLaunch launch) {
  update_chunk<AdamWBnb, kEightBit>(launch);
}

}  // namespace

void adamw_torch_cuda(const UpdateLaunch& launch, void* stream) {
  check_launch("adamw_torch_cuda", launch);
  gpu::launch(chunk_shape(launch.chunk_count), stream, adamw_torch_kernel, launch);
}

void adamw_bnb_cuda(const UpdateLaunch& launch, void* stream) {
  check_launch("adamw_bnb_cuda", launch);
  const auto kernel = launch.tables != nullptr ? adamw_bnb_kernel<true> : adamw_bnb_kernel<false>;
  gpu::launch(chunk_shape(launch.chunk_count), stream, kernel, launch);
}

}  // namespace nibble::optim
