// The launch lines of the softmax cross entropy on CUDA. Plain C++17 without CUDA's headers.
#pragma once

#include <cstdint>

#include "gpu/launch.h"

namespace nibble::nn {

// All pointers are device memory. No rows: nothing is done.
// REQUIRES 0 <= target < vocab (the caller checked the labels before they went to the device); vocab in 1..2^31-1.
struct CrossEntropyLaunch {
  void* logits = nullptr;            // [rows, vocab], contiguous, bf16 or fp32
  const int32_t* targets = nullptr;  // [rows]
  double* nll = nullptr;             // [rows], written
  int64_t rows = 0, vocab = 0;
  bool gradient = false;             // the logits become softmax(logits) - onehot(target)
  bool is_bf16 = true;
};

// Rows as cross_entropy_row_bf16 and cross_entropy_row_f32. Asynchronous on `stream` (a cudaStream_t). Lives in the CUDA
// module, as the next. NUMERICS the maximum is exact; the sum of exponentials has a relative error of at most
// (4 * vocab / 4096 + 8) * 2^-24, which only logits in rising order come near; each rounding else is the CPU's.
// THROWS nibble::CudaError, std::invalid_argument.
void cross_entropy_cuda(const CrossEntropyLaunch& launch, void* stream);

// The rows' losses stay on the device, chunk after chunk, until somebody wants their sum: no chunk waits for the host.
struct NllSumLaunch {
  const double* nll = nullptr;  // [count]
  int64_t count = 0;            // none: sums to 0
  double* sum = nullptr;        // [1]
  bool accumulate = false;      // *sum += instead of *sum =
};

// In one fixed order, so that equal runs give equal bits.
void nll_sum_cuda(const NllSumLaunch& launch, void* stream);

// Geometry. A block takes a row, its threads units of eight elements between the elements before the first multiple of
// 16 bytes and those after the last, of which each belongs to one thread: rows of an odd width begin anywhere.
inline constexpr int kCrossEntropyThreads = 512;
inline constexpr int kNllSumThreads = 256;

struct LogitsRow {
  int head;   // elements before the first unit, below 8
  int units;
  int tail;   // elements after the last unit, below 8
};

// `address` of the row's first element, a multiple of element_bytes.
NIBBLE_HOST_DEVICE inline LogitsRow logits_row(uint64_t address, int element_bytes, int vocab) {
  int head = static_cast<int>((16 - address % 16) % 16) / element_bytes;
  if (head > vocab) head = vocab;
  const int units = (vocab - head) / 8;
  return {head, units, vocab - head - 8 * units};
}

// The element at either end that belongs to a thread, or -1.
NIBBLE_HOST_DEVICE inline int end_element(const LogitsRow& row, int thread) {
  if (thread < row.head) return thread;
  return thread < row.head + row.tail ? thread + 8 * row.units : -1;
}

}  // namespace nibble::nn
