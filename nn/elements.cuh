// What nn's kernels share: eight adjacent elements, bf16 or fp32 in memory and fp32 in arithmetic, and sums over a warp.
//
// A kernel loads all that it needs as raw bits before it converts any of it, so that the loads are in flight together.
// `vector` says that the eight lie at a multiple of 16 bytes (rows_launch.h); it is the same for a whole launch.
#pragma once

#include <cstring>

#include "gpu/device.cuh"
#include "nn/rows_launch.h"

namespace nibble::nn {

inline constexpr unsigned kWholeWarp = 0xFFFFFFFFu;

__device__ inline float to_float(float v) { return v; }
__device__ inline float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }

// The value that a tensor of this element type would hold.
template <class E>
__device__ inline float round_to(float v) {
  if constexpr (sizeof(E) == sizeof(float)) {
    return v;
  } else {
    return __bfloat162float(__float2bfloat16_rn(v));
  }
}

// Eight elements as they are in memory.
template <class E>
struct Eight;
template <>
struct Eight<__nv_bfloat16> {
  uint4 bits;
};
template <>
struct Eight<float> {
  float4 low, high;
};

__device__ inline void load_vector(const __nv_bfloat16* p, Eight<__nv_bfloat16>& e) {
  e.bits = *reinterpret_cast<const uint4*>(p);
}
__device__ inline void load_vector(const float* p, Eight<float>& e) {
  e.low = reinterpret_cast<const float4*>(p)[0];
  e.high = reinterpret_cast<const float4*>(p)[1];
}

// By __stcg: assigned through a pointer, four words of 16 bytes are stored one by one where the compiler loses their alignment
// (nvcc 13.0, rope). What is written here is read by the next kernel, through the second-level cache.
__device__ inline void store_vector(__nv_bfloat16* p, const Eight<__nv_bfloat16>& e) {
  __stcg(reinterpret_cast<uint4*>(p), e.bits);
}
__device__ inline void store_vector(float* p, const Eight<float>& e) {
  __stcg(reinterpret_cast<float4*>(p), e.low);
  __stcg(reinterpret_cast<float4*>(p) + 1, e.high);
}

__device__ inline void unpack(const Eight<__nv_bfloat16>& e, float (&v)[kUnitElements]) {
  __nv_bfloat162 pairs[4];
  memcpy(pairs, &e.bits, sizeof pairs);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = __bfloat1622float2(pairs[i]);
    v[2 * i] = pair.x;
    v[2 * i + 1] = pair.y;
  }
}
__device__ inline void unpack(const Eight<float>& e, float (&v)[kUnitElements]) {
  memcpy(v, &e.low, sizeof e.low);
  memcpy(v + 4, &e.high, sizeof e.high);
}

// Rounds to the element type.
__device__ inline void pack(const float (&v)[kUnitElements], Eight<__nv_bfloat16>& e) {
  e.bits = make_uint4(gpu::pack_bf16(v[0], v[1]), gpu::pack_bf16(v[2], v[3]), gpu::pack_bf16(v[4], v[5]),
                      gpu::pack_bf16(v[6], v[7]));
}
__device__ inline void pack(const float (&v)[kUnitElements], Eight<float>& e) {
  e.low = make_float4(v[0], v[1], v[2], v[3]);
  e.high = make_float4(v[4], v[5], v[6], v[7]);
}

// `count` elements from p, zeros after them.
template <class E>
__device__ inline Eight<E> load_eight(const E* p, int count, bool vector) {
  Eight<E> e;
  if (vector && count == kUnitElements) {
    load_vector(p, e);
  } else {
    float v[kUnitElements];
#pragma unroll
    for (int i = 0; i < kUnitElements; ++i) v[i] = i < count ? to_float(p[i]) : 0.0f;
    pack(v, e);
  }
  return e;
}

// The first `count` of v to p, rounded.
template <class E>
__device__ inline void store_eight(E* p, const float (&v)[kUnitElements], int count, bool vector) {
  if (vector && count == kUnitElements) {
    Eight<E> e;
    pack(v, e);
    store_vector(p, e);
    return;
  }
#pragma unroll
  for (int i = 0; i < kUnitElements; ++i) {
    if (i < count) gpu::store1(p + i, v[i]);
  }
}

// By halves: three roundings, and no chain of eight additions.
__device__ inline float sum_eight(const float (&v)[kUnitElements]) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

// The sum over `lanes` neighbouring lanes, a power of two up to 32, the same bits in each of them. For a whole warp at once.
template <class Value>
__device__ inline Value sum_of_lanes(Value v, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) v += __shfl_xor_sync(kWholeWarp, v, offset);
  return v;
}

}  // namespace nibble::nn
