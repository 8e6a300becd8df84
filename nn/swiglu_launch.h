// The launch lines of SwiGLU on CUDA. Plain C++17 without CUDA's headers. Geometry: rows_launch.h.
#pragma once

#include <cstdint>

namespace nibble::nn {

// Rows of adjacent bf16 or fp32 elements; strides count elements; all pointers are device memory.
// No rows: nothing is done. REQUIRES width >= 1; an output may be one of the inputs, with its stride.
struct SwigluLaunch {
  const void* gate = nullptr;
  const void* up = nullptr;
  void* out = nullptr;
  int64_t rows = 0, width = 0;
  int64_t gate_stride = 0, up_stride = 0, out_stride = 0;
  bool is_bf16 = true;
};
struct SwigluGradLaunch {
  const void* dout = nullptr;
  const void* gate = nullptr;
  const void* up = nullptr;
  void* dgate = nullptr;
  void* dup = nullptr;
  void* act = nullptr;  // or null: the forward's output once more
  int64_t rows = 0, width = 0;
  int64_t dout_stride = 0, gate_stride = 0, up_stride = 0, dgate_stride = 0, dup_stride = 0, act_stride = 0;
  bool is_bf16 = true;
};

// As swiglu_cpu and swiglu_backward_cpu on every row. Asynchronous on `stream` (a cudaStream_t). Live in the CUDA module.
// NUMERICS bit for bit as on the CPU. THROWS nibble::CudaError, std::invalid_argument.
void swiglu_cuda(const SwigluLaunch& launch, void* stream);
void swiglu_backward_cuda(const SwigluGradLaunch& launch, void* stream);

}  // namespace nibble::nn
