// Dropout on CUDA: the mask is computed from a counter where it is used, and never stored. Rounding as in dropout.cpp.
#include "gpu/launch.cuh"
#include "nn/dropout_launch.h"
#include "nn/dropout_math.h"
#include "nn/elements.cuh"

namespace nibble::nn {
namespace {

template <class E>
__global__ void __launch_bounds__(kDropoutThreads)
    dropout_kernel(const DropoutLaunch launch, const uint32_t threshold, const float keep_scale, const bool vector) {
  const int first = static_cast<int>(threadIdx.x) * kUnitElements;
  const int count = min(gpu::tile_count(blockIdx.x, kDropoutTile, launch.numel) - first, kUnitElements);
  if (count <= 0) return;
  const int64_t element = gpu::tile_begin(blockIdx.x, kDropoutTile) + first;
  E* out = static_cast<E*>(launch.y) + element;
  const Eight<E> x = load_eight(static_cast<const E*>(launch.x) + element, count, vector);
  Eight<E> y{};
  if (launch.accumulate) y = load_eight(out, count, vector);
  RngKey key = launch.key;
  if (launch.step != nullptr) key.step += *launch.step;
  float v[kUnitElements];
  unpack(x, v);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const RandomBits bits = random_bits(key, static_cast<uint64_t>(element / 4 + half));
#pragma unroll
    for (int i = 0; i < 4; ++i) v[4 * half + i] = dropout_value(v[4 * half + i], bits.word[i], threshold, keep_scale);
  }
  if (launch.accumulate) {
    float sum[kUnitElements];
    unpack(y, sum);
#pragma unroll
    for (int i = 0; i < kUnitElements; ++i) v[i] = sum[i] + round_to<E>(v[i]);
  }
  store_eight(out, v, count, vector);
}

}  // namespace

void dropout_cuda(const DropoutLaunch& launch, void* stream) {
  if (launch.numel == 0) return;
  expect_launch(launch.x != nullptr && launch.y != nullptr && launch.p >= 0.0f && launch.p < 1.0f, "dropout_cuda",
                "x, y and a probability in [0, 1)");
  const gpu::LaunchShape shape = gpu::launch_shape(launch.numel, kDropoutTile, kDropoutThreads);
  gpu::launch(shape, stream, launch.is_bf16 ? dropout_kernel<__nv_bfloat16> : dropout_kernel<float>, launch,
              dropout_threshold(launch.p), dropout_keep_scale(launch.p), units_are_aligned({launch.x, launch.y}, 1, {}));
}

}  // namespace nibble::nn
