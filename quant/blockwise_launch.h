// The launch line of blockwise decoding on CUDA: plain pointers, sizes, a stream. Plain C++17 without CUDA's headers, so
// that the main binary can fill it in and tests can walk through the kernel's geometry.
#pragma once

#include <cstdint>

#include "gpu/launch.h"
#include "schema/enums.h"

namespace nibble::quant {

// All pointers are device memory.
// REQUIRES codes and out aligned to 16 bytes; blocksize a power of two in 32..4096; numel > 0.
struct DequantizeLaunch {
  QuantType type = QuantType::kNf4;
  int64_t blocksize = 64;
  int64_t numel = 0;
  const uint8_t* codes = nullptr;         // [ceil(numel/2)]
  const float* absmax = nullptr;          // [blocks], or null with double quantization:
  const uint8_t* absmax_codes = nullptr;  // [blocks]
  const float* nested_absmax = nullptr;   // [ceil(blocks/256)]
  float nested_offset = 0.0f;
  void* out = nullptr;                    // [numel], bf16 or fp32
  bool out_is_bf16 = true;
};

// Decodes a whole weight in one launch. Asynchronous on `stream` (a cudaStream_t; null: the default stream).
// NUMERICS bit for bit as dequantize_cpu. THROWS nibble::CudaError, std::invalid_argument. Lives in the CUDA module.
void dequantize_cuda(const DequantizeLaunch& launch, void* stream);

// Geometry. A thread reads 16 bytes (32 elements) at once, but neighbours in a warp should write neighbouring 16 bytes. So
// a warp's 128 words of 8 elements pass through shared memory: thread `lane` reads words 4*lane .. 4*lane+3 and, in round k
// of four, decodes and writes word k*32 + lane.
inline constexpr int kDequantizeThreads = 256;
inline constexpr int kWordElements = 8;
inline constexpr int kThreadElements = 32;
inline constexpr int kWarpElements = kThreadElements * gpu::kWarpThreads;
inline constexpr int kDequantizeTile = kThreadElements * kDequantizeThreads;
inline constexpr int kRounds = kThreadElements / kWordElements;

inline gpu::LaunchShape dequantize_shape(int64_t numel) {
  return gpu::launch_shape(numel, kDequantizeTile, kDequantizeThreads);
}

// Within a tile: the first element whose codes a thread reads, and the first that it writes in a round.
NIBBLE_HOST_DEVICE inline int read_element(int thread) { return thread * kThreadElements; }
NIBBLE_HOST_DEVICE inline int staged_word(int lane, int round) { return round * gpu::kWarpThreads + lane; }
NIBBLE_HOST_DEVICE inline int write_element(int thread, int round) {
  const int warp = thread / gpu::kWarpThreads, lane = thread % gpu::kWarpThreads;
  return warp * kWarpElements + staged_word(lane, round) * kWordElements;
}

}  // namespace nibble::quant
