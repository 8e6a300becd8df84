// The launch lines of blockwise coding on CUDA: plain pointers, sizes, a stream. Plain C++17 without CUDA's headers, so that
// the main binary can fill them in and tests can walk through the kernels' geometry.
#pragma once

#include <cstdint>

#include "gpu/launch.h"
#include "quant/blockwise_span.h"
#include "quant/layout_constants.h"

namespace nibble::quant {

// ---- decoding

// All pointers are device memory. REQUIRES codes and out aligned to 16 bytes; numel > 0.
struct DequantizeLaunch {
  DequantizeSpan span;
  void* out = nullptr;  // [numel], bf16 or fp32
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

// ---- encoding

// What a launch leaves at the beginning of its workspace, to be read when the stream has got there.
struct QuantizeReport {
  uint64_t not_finite;  // 0; or ~block for the first block that holds a NaN or an infinity: then nothing else counts
  float offset;         // the mean of absmax, with double quantization
};

// All pointers are device memory. REQUIRES weight and codes aligned to 16 bytes; numel > 0.
struct QuantizeLaunch {
  QuantizeSpan span;
  uint8_t* absmax_codes = nullptr;   // [blocks], or null without double quantization
  float* nested_absmax = nullptr;    // [ceil(blocks/256)], likewise
  void* workspace = nullptr;         // [quantize_workspace_bytes(numel)], aligned to 16 bytes; its contents do not matter
};

// Encodes a whole weight, double quantization included, in one launch (after clearing the workspace's first bytes).
// Asynchronous on `stream`. NUMERICS bit for bit as quantize_blocks_cpu, mean_scale_cpu and quantize_scales_cpu.
// THROWS nibble::CudaError, std::invalid_argument. Lives in the CUDA module.
void quantize_cuda(const QuantizeLaunch& launch, void* stream);

// Geometry. A block of threads takes a tile of the largest block size, a thread 8 neighbours of it: every block's maximum is
// found within one tile, by shuffles, and above 256 elements a block by shared memory, too.
inline constexpr int kQuantizeThreads = 512;
inline constexpr int kLaneElements = 8;
inline constexpr int kQuantizeTile = kQuantizeThreads * kLaneElements;
static_assert(kQuantizeTile == kLargestBlocksize, "a block of weights lies within one tile");

// Double quantization needs the mean of all scales before the first can be coded. Work is handed out in order, by a ticket:
// first the tiles, then the mean, then the scale codes, whose takers wait for the mean and so for all tiles. What they wait
// for was taken earlier by blocks that are running and wait for nothing, so this ends on every device and in every order
// of blocks, and the scales of a large weight are coded by all multiprocessors.
inline constexpr int kScaleGroupsATicket = kQuantizeThreads / gpu::kWarpThreads;  // a warp codes the scales of a nested block

struct QuantizeTickets {
  int64_t tiles;
  int64_t groups;   // nested blocks of 256 scales
  int64_t tickets;  // blocks of threads
};
inline QuantizeTickets quantize_tickets(int64_t numel, int64_t blocksize, bool double_quant) {
  QuantizeTickets t{(numel - 1) / kQuantizeTile + 1, 0, 0};
  t.tickets = t.tiles;
  if (double_quant) {
    t.groups = ((numel - 1) / blocksize + kNestedBlocksize) / kNestedBlocksize;
    t.tickets += 1 + (t.groups - 1) / kScaleGroupsATicket + 1;
  }
  return t;
}
inline gpu::LaunchShape quantize_shape(int64_t numel, int64_t blocksize, bool double_quant) {
  return gpu::launch_shape(quantize_tickets(numel, blocksize, double_quant).tickets, 1, kQuantizeThreads);
}

// The workspace: a head, then the sum of each tile's scales.
struct QuantizeHead {
  QuantizeReport report;
  unsigned ticket;      // next to be handed out
  unsigned tiles_done;
  unsigned mean_done;   // 1: report.offset is set
  unsigned unused;
};
static_assert(sizeof(QuantizeHead) == 32, "sums follow, aligned");
inline int64_t quantize_workspace_bytes(int64_t numel) {
  return static_cast<int64_t>(sizeof(QuantizeHead)) +
         quantize_tickets(numel, kLargestBlocksize, false).tiles * static_cast<int64_t>(sizeof(double));
}

// The mean is a tree over tiles as it is one over a tile's scales: rounds of neighbouring tiles, then a tree over the rounds.
inline constexpr int kRoundTiles = 2 * kQuantizeThreads;
inline constexpr int kMostRounds = 4 * kQuantizeThreads;
inline constexpr int64_t kMostQuantized = int64_t{kRoundTiles} * kMostRounds * kQuantizeTile;  // 8.6e9 elements

}  // namespace nibble::quant
