// Sums and scaling on CUDA, eight elements a thread.
#include <type_traits>

#include "gpu/launch.cuh"
#include "nn/elements.cuh"
#include "nn/elementwise_launch.h"

namespace nibble::nn {
namespace {

// How many of a thread's eight elements exist in its block's tile.
__device__ int thread_elements(unsigned tile, int64_t numel) {
  const int left = gpu::tile_count(tile, kElementwiseTile, numel) - static_cast<int>(threadIdx.x) * kUnitElements;
  return left < kUnitElements ? left : kUnitElements;
}
__device__ int64_t thread_begin(unsigned tile) {
  return gpu::tile_begin(tile, kElementwiseTile) + static_cast<int>(threadIdx.x) * kUnitElements;
}

template <class Y, bool kXIsBf16>
__global__ void __launch_bounds__(kElementwiseThreads)
    add_scaled_kernel(const AddScaledLaunch launch, const unsigned first_tiles, const bool vector) {
  using X = std::conditional_t<kXIsBf16, __nv_bfloat16, float>;
  const PartTile at = part_tile(blockIdx.x, first_tiles);
  // Not parts[at.part]: an index known at run time only would copy the argument to local memory.
  const AddScaledPart part = at.part == 0 ? launch.parts[0] : launch.parts[1];
  const int count = thread_elements(at.tile, part.numel);
  if (count <= 0) return;
  const int64_t begin = thread_begin(at.tile);
  Y* out = static_cast<Y*>(part.y) + begin;
  const Eight<Y> y = load_eight(static_cast<const Y*>(out), count, vector);
  const Eight<X> x = load_eight(static_cast<const X*>(part.x) + begin, count, vector);
  float sum[kUnitElements], v[kUnitElements];
  unpack(y, sum);
  unpack(x, v);
#pragma unroll
  for (int i = 0; i < kUnitElements; ++i) sum[i] = fmaf(part.scale, v[i], sum[i]);
  store_eight(out, sum, count, vector);
}

template <class E>
__global__ void __launch_bounds__(kElementwiseThreads) scale_kernel(const ScaleLaunch launch, const bool vector) {
  const int count = thread_elements(blockIdx.x, launch.numel);
  if (count <= 0) return;
  E* x = static_cast<E*>(launch.x) + thread_begin(blockIdx.x);
  float v[kUnitElements];
  unpack(load_eight(static_cast<const E*>(x), count, vector), v);
#pragma unroll
  for (int i = 0; i < kUnitElements; ++i) v[i] *= launch.factor;
  store_eight(x, v, count, vector);
}

}  // namespace

void add_scaled_cuda(const AddScaledLaunch& launch, void* stream) {
  const AddScaledPart &first = launch.parts[0], &second = launch.parts[1];
  if (first.numel == 0 && second.numel == 0) return;
  const auto complete = [](const AddScaledPart& p) { return p.numel == 0 || (p.y != nullptr && p.x != nullptr); };
  expect_launch(complete(first) && complete(second) && (launch.x_is_bf16 || !launch.y_is_bf16), "add_scaled_cuda",
                "x and y of every part, and no fp32 x with a bf16 y");
  const gpu::LaunchShape shape = add_scaled_shape(first.numel, second.numel);
  const auto first_tiles = static_cast<unsigned>(elementwise_tiles(first.numel));
  const bool vector = units_are_aligned({first.y, first.x, second.y, second.x}, 1, {});
  auto* kernel = launch.y_is_bf16   ? add_scaled_kernel<__nv_bfloat16, true>
                 : launch.x_is_bf16 ? add_scaled_kernel<float, true>
                                    : add_scaled_kernel<float, false>;
  gpu::launch(shape, stream, kernel, launch, first_tiles, vector);
}

void scale_cuda(const ScaleLaunch& launch, void* stream) {
  if (launch.numel == 0) return;
  expect_launch(launch.x != nullptr, "scale_cuda", "x");
  const gpu::LaunchShape shape = gpu::launch_shape(launch.numel, kElementwiseTile, kElementwiseThreads);
  gpu::launch(shape, stream, launch.is_bf16 ? scale_kernel<__nv_bfloat16> : scale_kernel<float>, launch,
              units_are_aligned({launch.x}, 1, {}));
}

}  // namespace nibble::nn
