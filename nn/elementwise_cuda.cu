// Sums on CUDA, eight elements a thread.
#include <type_traits>

#include "gpu/launch.cuh"
#include "nn/elements.cuh"
#include "nn/elementwise_launch.h"

namespace nibble::nn {
namespace {

template <class Y, bool kXIsBf16>
__global__ void __launch_bounds__(kElementwiseThreads) add_scaled_kernel(const AddScaledLaunch launch, const bool vector) {
  using X = std::conditional_t<kXIsBf16, __nv_bfloat16, float>;
  const int first = static_cast<int>(threadIdx.x) * kUnitElements;
  const int count = min(gpu::tile_count(blockIdx.x, kElementwiseTile, launch.numel) - first, kUnitElements);
  if (count <= 0) return;
  const int64_t begin = gpu::tile_begin(blockIdx.x, kElementwiseTile) + first;
  Y* out = static_cast<Y*>(launch.y) + begin;
  const Eight<Y> y = load_eight(static_cast<const Y*>(out), count, vector);
  const Eight<X> x = load_eight(static_cast<const X*>(launch.x) + begin, count, vector);
  float sum[kUnitElements], v[kUnitElements];
  unpack(y, sum);
  unpack(x, v);
#pragma unroll
  for (int i = 0; i < kUnitElements; ++i) sum[i] = fmaf(launch.scale, v[i], sum[i]);
  store_eight(out, sum, count, vector);
}

}  // namespace

void add_scaled_cuda(const AddScaledLaunch& launch, void* stream) {
  if (launch.numel == 0) return;
  expect_launch(launch.y != nullptr && launch.x != nullptr && (launch.x_is_bf16 || !launch.y_is_bf16), "add_scaled_cuda",
                "x and y, and no fp32 x with a bf16 y");
  auto* kernel = launch.y_is_bf16   ? add_scaled_kernel<__nv_bfloat16, true>
                 : launch.x_is_bf16 ? add_scaled_kernel<float, true>
                                    : add_scaled_kernel<float, false>;
  gpu::launch(gpu::launch_shape(launch.numel, kElementwiseTile, kElementwiseThreads), stream, kernel, launch,
              units_are_aligned({launch.y, launch.x}, 1, {}));
}

}  // namespace nibble::nn
