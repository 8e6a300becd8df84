// The launch line of dropout on CUDA. Plain C++17 without CUDA's headers.
#pragma once

#include <cstdint>

#include "core/rng.h"

namespace nibble::nn {

// All pointers are device memory. REQUIRES 0 <= p < 1; x is y or does not overlap it.
struct DropoutLaunch {
  const void* x = nullptr;
  void* y = nullptr;        // may be x
  int64_t numel = 0;        // none: nothing is done
  float p = 0.0f;
  RngKey key;
  const uint64_t* step = nullptr;  // added to key.step when the kernel runs, so that a recorded launch draws new masks; or null
  bool accumulate = false;  // y += dropout(x), dropout rounded before it is added, instead of y =
  bool is_bf16 = true;      // both, else fp32
};

// Asynchronous on `stream` (a cudaStream_t). Lives in the CUDA module. NUMERICS mask and values bit for bit as nn::dropout.
// THROWS nibble::CudaError, std::invalid_argument.
void dropout_cuda(const DropoutLaunch& launch, void* stream);

// Geometry: a thread takes eight elements, two blocks of random numbers.
inline constexpr int kDropoutThreads = 256;
inline constexpr int kDropoutTile = 8 * kDropoutThreads;

}  // namespace nibble::nn
