// NIBBLE_CUDA_CHECK(statement): runs a CUDA runtime call and throws nibble::CudaError, quoting the statement, if it fails.
// For .cu files: the main binary knows no CUDA.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "core/error.h"

namespace nibble::gpu {

// Clears the runtime's remembered error, so that the next, unrelated call does not report this one again. (An error that
// broke the context comes back all the same.)
inline void throw_cuda_error(cudaError_t error, const char* statement, const char* file, int line) {
  cudaGetLastError();
  throw CudaError(std::string(statement) + " failed: " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) +
                  ", " + file + ":" + std::to_string(line) + ")");
}

}  // namespace nibble::gpu

#define NIBBLE_CUDA_CHECK(statement)                                                             \
  do {                                                                                           \
    const cudaError_t nibble_cuda_error = (statement);                                           \
    if (nibble_cuda_error != cudaSuccess) {                                                      \
      ::nibble::gpu::throw_cuda_error(nibble_cuda_error, #statement, __FILE__, __LINE__);        \
    }                                                                                            \
  } while (false)
