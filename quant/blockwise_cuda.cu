// Blockwise decoding on CUDA: NF4 and FP4, plain and double-quantized scales, to bf16 or fp32, in one launch.
//
// bitsandbytes needs three launches for double quantization (scales, offset, values) and an fp32 temporary for the scales.
// Here a scale is rebuilt where it is used; eight threads of a warp share it and the caches hold it.
#include <string>

#include "gpu/device.cuh"
#include "gpu/launch.cuh"
#include "quant/blockwise_launch.h"
#include "quant/codebook.h"
#include "quant/layout_constants.h"

namespace nibble::quant {
namespace {

// Four blocks a multiprocessor leave 64 registers a thread: enough not to spill, and enough loads in flight.
constexpr int kResidentBlocks = 4;

// The tables travel as arguments: the only copy in the tree is quant/codebook.h.
struct Tables {
  float book[16];
  float map[256];  // double quantization only
};

struct Scales {
  const float* absmax;
  const uint8_t* absmax_codes;
  const float* nested_absmax;
  float nested_offset;
  int blocksize_log2;
};

template <bool kNested>
__device__ float scale_of(const Scales& scales, const float* map, int64_t element) {
  const int64_t block = element >> scales.blocksize_log2;
  if (!kNested) return __ldg(scales.absmax + block);
  const float nested = __ldg(scales.nested_absmax + block / kNestedBlocksize);
  // Two roundings: contracted to a fused multiply-add, the bits would differ.
  return __fadd_rn(__fmul_rn(map[__ldg(scales.absmax_codes + block)], nested), scales.nested_offset);
}

// Element 2j is the high nibble of byte j.
__device__ float decode(const float* book, uint32_t word, int element, float scale) {
  const int shift = (element / 2) * 8 + (element % 2 == 0 ? 4 : 0);
  return __fmul_rn(book[(word >> shift) & 15u], scale);
}

template <bool kNested, class Out>
__global__ void __launch_bounds__(kDequantizeThreads, kResidentBlocks)
    dequantize_kernel(const __grid_constant__ Tables tables, const uint8_t* __restrict__ codes,
                      const __grid_constant__ Scales scales, int64_t numel, Out* __restrict__ out) {
  __shared__ float book[16];
  __shared__ float map[kNested ? 256 : 1];
  __shared__ uint4 staged[kDequantizeThreads];
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < 16) book[thread] = tables.book[thread];
  if (kNested) map[thread] = tables.map[thread];
  const int64_t tile = gpu::tile_begin(blockIdx.x, kDequantizeTile);
  const int count = gpu::tile_count(blockIdx.x, kDequantizeTile, numel);
  if (count == kDequantizeTile) staged[thread] = gpu::load_streaming(codes + (tile + read_element(thread)) / 2);
  __syncthreads();
  if (count == kDequantizeTile) {
    const auto* words = reinterpret_cast<const uint32_t*>(staged + thread / gpu::kWarpThreads * gpu::kWarpThreads);
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
      const int64_t element = tile + write_element(thread, round);
      const uint32_t word = words[staged_word(thread % gpu::kWarpThreads, round)];
      const float scale = scale_of<kNested>(scales, map, element);
      float values[kWordElements];
#pragma unroll
      for (int i = 0; i < kWordElements; ++i) values[i] = decode(book, word, i, scale);
      gpu::store8(out + element, values);
    }
    return;
  }
  // The last tile, byte by byte: not a code beyond the end is read, not a value written.
  for (int i = 2 * thread; i < count; i += 2 * kDequantizeThreads) {
    const uint32_t byte = codes[(tile + i) / 2];
    const float scale = scale_of<kNested>(scales, map, tile + i);  // block sizes are even: both elements' scale
    gpu::store1(out + tile + i, decode(book, byte, 0, scale));
    if (i + 1 < count) gpu::store1(out + tile + i + 1, decode(book, byte, 1, scale));
  }
}

template <bool kNested, class Out>
void launch_dequantize(const DequantizeLaunch& launch, const Tables& tables, const Scales& scales, void* stream) {
  gpu::launch(dequantize_shape(launch.span.numel), stream, dequantize_kernel<kNested, Out>, tables, launch.span.codes,
              scales, launch.span.numel, static_cast<Out*>(launch.out));
}

void check(const DequantizeLaunch& launch) {
  const DequantizeSpan& span = launch.span;
  const int64_t b = span.blocksize;
  const bool blocksize_fits = b >= kSmallestBlocksize && b <= kLargestBlocksize && (b & (b - 1)) == 0;
  const bool has_scales = span.absmax != nullptr || (span.absmax_codes != nullptr && span.nested_absmax != nullptr);
  const auto address = reinterpret_cast<uintptr_t>(span.codes) | reinterpret_cast<uintptr_t>(launch.out);
  if (!blocksize_fits || !has_scales || span.codes == nullptr || launch.out == nullptr || address % 16 != 0) {
    throw std::invalid_argument("dequantize_cuda: block size " + std::to_string(b) +
                                ", or a pointer that is null or not aligned to 16 bytes");
  }
}

}  // namespace

void dequantize_cuda(const DequantizeLaunch& launch, void* stream) {
  check(launch);
  const DequantizeSpan& span = launch.span;
  Tables tables;
  for (int i = 0; i < 16; ++i) tables.book[i] = span.type == QuantType::kNf4 ? kNf4Codebook[i] : kFp4Codebook[i];
  for (int i = 0; i < 256; ++i) tables.map[i] = kDynamicMapSigned[i];
  int log2 = 0;
  while ((int64_t{1} << log2) < span.blocksize) ++log2;
  const Scales scales{span.absmax, span.absmax_codes, span.nested_absmax, span.nested_offset, log2};
  const bool nested = span.absmax == nullptr;
  if (launch.out_is_bf16) {
    nested ? launch_dequantize<true, __nv_bfloat16>(launch, tables, scales, stream)
           : launch_dequantize<false, __nv_bfloat16>(launch, tables, scales, stream);
  } else {
    nested ? launch_dequantize<true, float>(launch, tables, scales, stream)
           : launch_dequantize<false, float>(launch, tables, scales, stream);
  }
}

}  // namespace nibble::quant
