// Lion on CUDA.
#include "optim/lion_math.h"
#include "optim/update.cuh"

namespace nibble::optim {
namespace {

template <bool kEightBit>
__global__ void __launch_bounds__(kChunkThreads) lion_kernel(UpdateLaunch launch) {
  update_chunk<Lion, kEightBit>(launch);
}

}  // namespace

void lion_cuda(const UpdateLaunch& launch, void* stream) {
  check_launch("lion_cuda", launch);
  const auto kernel = launch.tables != nullptr ? lion_kernel<true> : lion_kernel<false>;
  gpu::launch(chunk_shape(launch.chunk_count), stream, kernel, launch);
}

}  // namespace nibble::optim
