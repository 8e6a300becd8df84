// The launch line of the plain sums around LibTorch's products: gradients and residuals. Plain C++17 without CUDA's headers.
#pragma once

#include <cstdint>

namespace nibble::nn {

// y += scale * x over contiguous elements. All pointers are device memory; x is y or does not overlap it.
struct AddScaledLaunch {
  void* y = nullptr;
  const void* x = nullptr;
  float scale = 1.0f;
  int64_t numel = 0;       // none: nothing is done
  bool y_is_bf16 = false;  // then x is bf16 too
  bool x_is_bf16 = true;
};

// Asynchronous on `stream` (a cudaStream_t). Lives in the CUDA module. NUMERICS scale * x + y is rounded once (fused, as
// LibTorch's vectorized add_), to y's dtype over fp32. THROWS nibble::CudaError, std::invalid_argument.
void add_scaled_cuda(const AddScaledLaunch& launch, void* stream);

// Geometry: a thread takes eight elements.
inline constexpr int kElementwiseThreads = 256;
inline constexpr int kElementwiseTile = 8 * kElementwiseThreads;

}  // namespace nibble::nn
