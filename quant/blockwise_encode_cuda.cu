// Blockwise encoding on CUDA: NF4 and FP4 of fp32, bf16 and fp16 weights, the scales' double quantization included, in one
// launch. How the work is cut and why it ends: quant/blockwise_launch.h.
#include <cuda_fp16.h>

#include <string>

#include "gpu/device.cuh"
#include "gpu/launch.cuh"
#include "quant/blockwise_launch.h"
#include "quant/blockwise_math.h"
#include "quant/threshold_tree.h"

namespace nibble::quant {
namespace {

constexpr unsigned kAllLanes = 0xFFFFFFFFu;
constexpr int kWarps = kQuantizeThreads / gpu::kWarpThreads;
constexpr int kMostScales = kQuantizeTile / kSmallestBlocksize;  // of a tile
constexpr int kScaleRounds = kNestedBlocksize / gpu::kWarpThreads;

// The tables travel as arguments: the only copy in the tree is quant/codebook.h.
struct EncodeTables {
  float tree[16];           // of NF4's thresholds, or of FP4's in the first eight
  uint8_t code_by_size[8];  // FP4 only
  float map[256];           // double quantization only
};

struct Encode {
  const void* weight;
  uint8_t* codes;
  float* absmax;
  uint8_t* absmax_codes;
  float* nested_absmax;
  QuantizeHead* head;
  double* tile_sums;
  int64_t numel;
  int64_t blocks;
  int64_t tiles;
  int blocksize;
  bool is_nf4;
};

// Eight neighbours as floats. `count` of them exist, the others are zero.
__device__ void load8(const float* x, int count, float (&v)[8]) {
  if (count == 8) {
    const float4 low = __ldcs(reinterpret_cast<const float4*>(x)), high = __ldcs(reinterpret_cast<const float4*>(x) + 1);
    v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
    v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = i < count ? x[i] : 0.0f;
}
__device__ float widen(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ float widen(__half x) { return __half2float(x); }
template <class Value>
__device__ void load8(const Value* x, int count, float (&v)[8]) {
  if (count == 8) {
    const uint4 bits = gpu::load_streaming(x);
    Value values[8];
    memcpy(values, &bits, sizeof values);
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = widen(values[i]);
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = i < count ? widen(x[i]) : 0.0f;
}

__device__ uint32_t magnitude_bits(float x) { return __float_as_uint(x) & kMagnitudeMask; }

__device__ uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

// The largest magnitude among `lanes` neighbouring threads (a power of two), as bits, in all of them. Every thread of the
// block of threads calls it with the same number.
__device__ uint32_t largest_of_neighbours(uint32_t bits, int lanes, uint32_t* of_warps) {
  const int within_warp = lanes < gpu::kWarpThreads ? lanes : gpu::kWarpThreads;
  for (int offset = 1; offset < within_warp; offset *= 2) bits = larger(bits, __shfl_xor_sync(kAllLanes, bits, offset));
  if (lanes <= gpu::kWarpThreads) return bits;
  const int warp = static_cast<int>(threadIdx.x) / gpu::kWarpThreads, warps = lanes / gpu::kWarpThreads;
  if (threadIdx.x % gpu::kWarpThreads == 0) of_warps[warp] = bits;
  __syncthreads();
  for (int i = 0; i < warps; ++i) bits = larger(bits, of_warps[warp / warps * warps + i]);
  return bits;
}

// The sum over all threads as a tree over neighbours, in thread 0.
__device__ double block_tree_sum(double value, double* of_warps) {
  for (int offset = 1; offset < gpu::kWarpThreads; offset *= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread % gpu::kWarpThreads == 0) of_warps[thread / gpu::kWarpThreads] = value;
  __syncthreads();
  if (thread < gpu::kWarpThreads) {
    value = thread < kWarps ? of_warps[thread] : 0.0;
    for (int offset = 1; offset < kWarps; offset *= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  }
  __syncthreads();  // of_warps may be used again
  return value;
}

__device__ uint32_t code_of(float x, bool is_nf4, const float* tree, const uint8_t* code_by_size) {
  if (is_nf4) return count_below(tree, 16, x);
  return code_by_size[count_below(tree, 8, fabsf(x))] | (x < 0.0f ? 8u : 0u);
}

// Element 2j goes to the high nibble of byte j.
__device__ void store_codes(uint8_t* codes, int count, uint32_t packed) {
  if (count == kLaneElements) {
    *reinterpret_cast<uint32_t*>(codes) = packed;
    return;
  }
  for (int i = 0; i < (count + 1) / 2; ++i) codes[i] = static_cast<uint8_t>(packed >> 8 * i);
}

template <class Value>
__device__ void encode_tile(const Encode& e, int64_t tile, const float* tree, const uint8_t* code_by_size, float* scales,
                            uint32_t* of_warps) {
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t element = tile * kQuantizeTile + thread * kLaneElements;
  const int64_t left = e.numel - element;
  const int count = left >= kLaneElements ? kLaneElements : left > 0 ? static_cast<int>(left) : 0;
  float x[kLaneElements];
  load8(static_cast<const Value*>(e.weight) + element, count, x);
  uint32_t largest = 0;
#pragma unroll
  for (int i = 0; i < kLaneElements; ++i) largest = larger(largest, magnitude_bits(x[i]));
  const int lanes = e.blocksize / kLaneElements;
  largest = largest_of_neighbours(largest, lanes, of_warps);
  const float absmax = __uint_as_float(largest);
  if (thread % lanes == 0) {
    const int64_t block = element / e.blocksize;
    scales[thread / lanes] = absmax;
    if (count > 0) e.absmax[block] = absmax;
    if (largest >= kInfinityBits) {
      atomicMax(reinterpret_cast<unsigned long long*>(&e.head->report.not_finite), ~static_cast<unsigned long long>(block));
    }
  }
  // Zeros give 0 * infinity, a NaN and so code 0; a block of denormals may overflow to infinity. As on the CPU.
  const float inverse = __fdiv_rn(1.0f, absmax);
  uint32_t packed = 0;
#pragma unroll
  for (int i = 0; i < kLaneElements; ++i) {
    const int shift = (i / 2) * 8 + (i % 2 == 0 ? 4 : 0);
    packed |= code_of(__fmul_rn(x[i], inverse), e.is_nf4, tree, code_by_size) << shift;
  }
  store_codes(e.codes + element / 2, count, packed);
}

// Adds up a tile's scales, as the tree over neighbours, and reports the tile as done. By the first warp; the others' writes to
// global memory are before the barrier that precedes.
__device__ void finish_tile(const Encode& e, int64_t tile, const float* scales) {
  const int lane = static_cast<int>(threadIdx.x), count = kQuantizeTile / e.blocksize;
  double sum[4];
  for (int i = 0; i < 4; ++i) sum[i] = 4 * lane + i < count ? static_cast<double>(scales[4 * lane + i]) : 0.0;
  double total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  for (int offset = 1; offset < gpu::kWarpThreads; offset *= 2) total += __shfl_xor_sync(kAllLanes, total, offset);
  if (lane == 0) {
    e.tile_sums[tile] = total;
    __threadfence();
    atomicAdd(&e.head->tiles_done, 1u);
  }
}

// Waits, with the whole block of threads, until a counter has a value.
__device__ void wait_for(unsigned* counter, unsigned value) {
  if (threadIdx.x == 0) {
    while (atomicAdd(counter, 0u) != value) __nanosleep(200);
    __threadfence();
  }
  __syncthreads();
}

__device__ void find_mean(const Encode& e, double* rounds, double* of_warps) {
  wait_for(&e.head->tiles_done, static_cast<unsigned>(e.tiles));
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < kMostRounds; i += kQuantizeThreads) rounds[i] = 0.0;
  __syncthreads();
  for (int64_t first = 0; first < e.tiles; first += kRoundTiles) {
    const int64_t tile = first + 2 * thread;
    const double left = tile < e.tiles ? __ldcg(e.tile_sums + tile) : 0.0;
    const double right = tile + 1 < e.tiles ? __ldcg(e.tile_sums + tile + 1) : 0.0;
    const double sum = block_tree_sum(left + right, of_warps);
    if (thread == 0) rounds[first / kRoundTiles] = sum;
  }
  __syncthreads();
  const double* mine = rounds + 4 * thread;
  const double sum = block_tree_sum((mine[0] + mine[1]) + (mine[2] + mine[3]), of_warps);
  if (thread == 0) {
    e.head->report.offset = static_cast<float>(sum / static_cast<double>(e.blocks));
    __threadfence();
    atomicAdd(&e.head->mean_done, 1u);
  }
}

// A warp's nested block: 256 scales, 32 at a time, read twice (they are in the second-level cache).
__device__ void encode_scales(const Encode& e, int64_t group, const float* map) {
  const int64_t first = group * kNestedBlocksize + threadIdx.x % gpu::kWarpThreads;
  const float offset = __ldcg(&e.head->report.offset);
  uint32_t largest = 0;
#pragma unroll
  for (int round = 0; round < kScaleRounds; ++round) {
    const int64_t block = first + round * gpu::kWarpThreads;
    if (block < e.blocks) largest = larger(largest, magnitude_bits(__fsub_rn(__ldcg(e.absmax + block), offset)));
  }
  for (int lanes = 1; lanes < gpu::kWarpThreads; lanes *= 2) {
    largest = larger(largest, __shfl_xor_sync(kAllLanes, largest, lanes));
  }
  const float nested = __uint_as_float(largest);
  if (threadIdx.x % gpu::kWarpThreads == 0 && first < e.blocks) e.nested_absmax[group] = nested;
  const float inverse = __fdiv_rn(1.0f, nested);
#pragma unroll 1
  for (int round = 0; round < kScaleRounds; ++round) {
    const int64_t block = first + round * gpu::kWarpThreads;
    if (block >= e.blocks) return;
    e.absmax_codes[block] = dynamic_code(__fmul_rn(__fsub_rn(__ldcg(e.absmax + block), offset), inverse), map);
  }
}

template <bool kNested, class Value>
__global__ void __launch_bounds__(kQuantizeThreads, 2)
    quantize_kernel(const __grid_constant__ EncodeTables tables, const __grid_constant__ Encode e) {
  __shared__ float tree[16];
  __shared__ uint8_t code_by_size[8];
  __shared__ float map[kNested ? 256 : 1];
  __shared__ float scales[kMostScales];
  __shared__ uint32_t largest_of_warps[kWarps];
  __shared__ double sum_of_warps[kNested ? kWarps : 1];
  __shared__ double rounds[kNested ? kMostRounds : 1];
  __shared__ unsigned ticket;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < 16) tree[thread] = tables.tree[thread];
  if (thread < 8) code_by_size[thread] = tables.code_by_size[thread];
  if (kNested && thread < 256) map[thread] = tables.map[thread];
  if (thread == 0) ticket = kNested ? atomicAdd(&e.head->ticket, 1u) : blockIdx.x;
  __syncthreads();
  const int64_t work = ticket;
  if (work < e.tiles) {
    encode_tile<Value>(e, work, tree, code_by_size, scales, largest_of_warps);
    if constexpr (kNested) {
      __threadfence();
      __syncthreads();
      if (thread < gpu::kWarpThreads) finish_tile(e, work, scales);
    }
  } else if constexpr (kNested) {
    if (work == e.tiles) return find_mean(e, rounds, sum_of_warps);
    wait_for(&e.head->mean_done, 1);
    const int64_t group = (work - e.tiles - 1) * kScaleGroupsATicket + thread / gpu::kWarpThreads;
    encode_scales(e, group, map);
  }
}

void check(const QuantizeLaunch& launch) {
  const QuantizeSpan& span = launch.span;
  const int64_t b = span.blocksize;
  const bool sizes_fit = b >= kSmallestBlocksize && b <= kLargestBlocksize && (b & (b - 1)) == 0 && span.numel > 0 &&
                         span.numel <= kMostQuantized;
  const bool outputs_fit = span.weight != nullptr && span.codes != nullptr && span.absmax != nullptr &&
                           launch.workspace != nullptr && (launch.absmax_codes == nullptr) == (launch.nested_absmax == nullptr);
  const auto address = reinterpret_cast<uintptr_t>(span.weight) | reinterpret_cast<uintptr_t>(span.codes) |
                       reinterpret_cast<uintptr_t>(launch.workspace);
  if (!sizes_fit || !outputs_fit || address % 16 != 0) {
    throw std::invalid_argument("quantize_cuda: " + std::to_string(span.numel) + " elements in blocks of " +
                                std::to_string(b) + ", or a pointer that is null or not aligned to 16 bytes");
  }
}

EncodeTables tables_of(QuantType type) {
  EncodeTables tables{};
  for (int i = 0; i < 16; ++i) tables.tree[i] = type == QuantType::kNf4 ? kNf4Tree[i] : i < 8 ? kFp4Tree[i] : 0.0f;
  for (int i = 0; i < 8; ++i) tables.code_by_size[i] = kFp4CodeBySize[i];
  for (int i = 0; i < 256; ++i) tables.map[i] = kDynamicMapSigned[i];
  return tables;
}

template <class Value>
void launch_quantize(const QuantizeLaunch& launch, const Encode& encode, void* stream) {
  const bool nested = launch.absmax_codes != nullptr;
  const EncodeTables tables = tables_of(launch.span.type);
  const gpu::LaunchShape shape = quantize_shape(launch.span.numel, launch.span.blocksize, nested);
  if (nested) {
    gpu::launch(shape, stream, quantize_kernel<true, Value>, tables, encode);
  } else {
    gpu::launch(shape, stream, quantize_kernel<false, Value>, tables, encode);
  }
}

}  // namespace

void quantize_cuda(const QuantizeLaunch& launch, void* stream) {
  check(launch);
  const QuantizeSpan& span = launch.span;
  auto* head = static_cast<QuantizeHead*>(launch.workspace);
  NIBBLE_CUDA_CHECK(cudaMemsetAsync(head, 0, sizeof(QuantizeHead), static_cast<cudaStream_t>(stream)));
  const QuantizeTickets tickets = quantize_tickets(span.numel, span.blocksize, launch.absmax_codes != nullptr);
  const Encode encode{span.weight,         span.codes,
                      span.absmax,         launch.absmax_codes,
                      launch.nested_absmax, head,
                      reinterpret_cast<double*>(head + 1), span.numel,
                      (span.numel - 1) / span.blocksize + 1, tickets.tiles,
                      static_cast<int>(span.blocksize), span.type == QuantType::kNf4};
  switch (span.element) {
    case Element::kF32: return launch_quantize<float>(launch, encode, stream);
    case Element::kBf16: return launch_quantize<__nv_bfloat16>(launch, encode, stream);
    case Element::kF16: return launch_quantize<__half>(launch, encode, stream);
  }
}

}  // namespace nibble::quant
