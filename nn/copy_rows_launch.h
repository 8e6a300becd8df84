// The launch line that moves rows on CUDA: embedding look-up, labelled rows out of and back into all rows, a new token's keys
// and values into the cache. Plain C++17 without CUDA's headers. Geometry: rows_launch.h.
#pragma once

#include <cstdint>

namespace nibble::nn {

// out[out_rows[i]] = in[in_rows[i]] for i below `count`; a null list stands for 0, 1, 2, ... A negative number in in_rows
// writes zeros, one in out_rows writes nothing. All pointers are device memory; any element type of an even size.
// REQUIRES row_bytes >= 2; row_bytes and strides even; the rows that out_rows names are distinct; in and out do not
// overlap; other numbers are inside the matrices (the caller checked them before they went to the device).
struct CopyRowsLaunch {
  const void* in = nullptr;
  void* out = nullptr;
  const int32_t* in_rows = nullptr;
  const int32_t* out_rows = nullptr;
  int64_t count = 0;      // none: nothing is done
  int64_t row_bytes = 0;
  int64_t in_stride_bytes = 0, out_stride_bytes = 0;
};

// Asynchronous on `stream` (a cudaStream_t). Lives in the CUDA module. THROWS nibble::CudaError, std::invalid_argument.
void copy_rows_cuda(const CopyRowsLaunch& launch, void* stream);

}  // namespace nibble::nn
