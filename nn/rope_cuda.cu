// Rotary position embedding on CUDA, in place, forward and inverse. Rounding as in rope_cpu.cpp.
#include "gpu/launch.cuh"
#include "nn/elements.cuh"
#include "nn/rope_launch.h"

namespace nibble::nn {
namespace {

template <class E>
struct Pairs {
  Eight<E> low, high;
};

// Every product and the sum round to the dtype.
template <bool kVector, class E>
__device__ void rotate(const Pairs<E>& pairs, const float (&cos)[kUnitElements], const float (&sin)[kUnitElements], E* low,
                       int64_t half, int count) {
  float a[kUnitElements], b[kUnitElements];
  unpack(pairs.low, a);
  unpack(pairs.high, b);
#pragma unroll
  for (int i = 0; i < kUnitElements; ++i) {
    const float first = a[i], second = b[i];
    a[i] = round_to<E>(first * cos[i]) - round_to<E>(second * sin[i]);
    b[i] = round_to<E>(second * cos[i]) + round_to<E>(first * sin[i]);
  }
  store_eight(low, a, count, kVector);
  store_eight(low + half, b, count, kVector);
}

// kVector: every unit is whole and aligned to 16 bytes.
template <class E, bool kVector>
__global__ void __launch_bounds__(kRopeThreads)
    rope_kernel(const RopeRows<void> rows, const RopeTiles tiles, const int64_t tokens) {
  const float sign = rows.inverse ? -1.0f : 1.0f;
  for (int i = static_cast<int>(threadIdx.x); i < tiles.tokens_per_block * tiles.items; i += kRopeThreads) {
    const RopeItem item = rope_item(tiles, i);
    const int64_t token = gpu::tile_begin(blockIdx.x, tiles.tokens_per_block) + item.token;
    if (token >= tokens) return;
    const int64_t first = static_cast<int64_t>(item.unit) * kUnitElements;
    const int count = kVector ? kUnitElements : unit_elements(item.unit, rows.half);
    E* x = static_cast<E*>(rows.x) + token * rows.token_stride + first;
    Pairs<E> pairs[kRopeHeads];
#pragma unroll
    for (int h = 0; h < kRopeHeads; ++h) {
      if (item.first_head + h >= rows.heads) continue;
      E* low = x + (item.first_head + h) * rows.head_stride;
      pairs[h] = {load_eight(low, count, kVector), load_eight(low + rows.half, count, kVector)};
    }
    const int64_t table = static_cast<int64_t>(rows.positions[token]) * rows.half + first;
    float cos[kUnitElements], sin[kUnitElements];
    unpack(load_eight(rows.cos + table, count, kVector), cos);
    unpack(load_eight(rows.sin + table, count, kVector), sin);
#pragma unroll
    for (int j = 0; j < kUnitElements; ++j) {
      cos[j] = round_to<E>(cos[j]);
      sin[j] = sign * round_to<E>(sin[j]);
    }
#pragma unroll
    for (int h = 0; h < kRopeHeads; ++h) {
      if (item.first_head + h >= rows.heads) continue;
      rotate<kVector>(pairs[h], cos, sin, x + (item.first_head + h) * rows.head_stride, rows.half, count);
    }
  }
}

}  // namespace

void rope_cuda(const RopeLaunch& launch, void* stream) {
  if (launch.tokens == 0) return;
  const RopeRows<void>& rows = launch.rows;
  expect_launch(rows.x != nullptr && rows.positions != nullptr && rows.cos != nullptr && rows.sin != nullptr &&
                    rows.heads >= 1 && rows.half >= 1 && rows.heads <= INT32_MAX / rows.half,
                "rope_cuda", "x, positions, a table, and heads and half of at least 1");
  const RopeTiles tiles = rope_tiles(rows.heads, rows.half);
  // Halves count as rows: the upper one and every row of the table begin a multiple of `half` after an aligned place.
  const bool vector = units_are_aligned({rows.x, rows.cos, rows.sin}, /*rows=*/2,
                                        {rows.token_stride, rows.head_stride, rows.half});
  const gpu::LaunchShape shape = rope_shape(tiles, launch.tokens);
  if (launch.is_bf16) {
    gpu::launch(shape, stream, vector ? rope_kernel<__nv_bfloat16, true> : rope_kernel<__nv_bfloat16, false>, rows, tiles,
                launch.tokens);
  } else {
    gpu::launch(shape, stream, vector ? rope_kernel<float, true> : rope_kernel<float, false>, rows, tiles, launch.tokens);
  }
}

}  // namespace nibble::nn
