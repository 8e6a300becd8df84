// gpu::launch(shape, stream, kernel, arguments...): the one way in which nibble launches a kernel, so that the same .cu file
// is CUDA for nvcc and plain C++ for the tests' emulator, which provides cudaLaunchKernelEx itself (tests/emulator).
#pragma once

#include <cuda_runtime.h>

#include <utility>

#include "gpu/check.h"
#include "gpu/launch.h"

namespace nibble::gpu {

// A shape, and the line that launches with it: made from a shape where launch() is called, so that a failed launch says
// where it was rather than that it was in this file.
struct LaunchSite {
  LaunchShape shape;
  const char* file;
  int line;

  LaunchSite(const LaunchShape& launch_shape, const char* caller_file = __builtin_FILE(),
             int caller_line = __builtin_LINE())
      : shape(launch_shape), file(caller_file), line(caller_line) {}
};

// Queues `kernel` on `stream` (a cudaStream_t; null: the default stream). Arguments are converted to the kernel's parameter
// types and copied. Asynchronous. THROWS CudaError if the launch itself is refused, with the caller's file and line.
template <class... Parameters, class... Arguments>
void launch(const LaunchSite& site, void* stream, void (*kernel)(Parameters...), Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "one argument for each parameter of the kernel");
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(site.shape.blocks, site.shape.blocks_y);
  config.blockDim = dim3(site.shape.threads);
  config.stream = static_cast<cudaStream_t>(stream);
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
  if (error != cudaSuccess) throw_cuda_error(error, "cudaLaunchKernelEx(&config, kernel, ...)", site.file, site.line);
}

}  // namespace nibble::gpu
