// What CUDA kernels share: 16-byte loads and stores, packing of bf16.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace nibble::gpu {

// Sixteen bytes that are read once: through the read-only path, and not kept in the first-level cache.
__device__ inline uint4 load_streaming(const void* p) { return __ldcs(static_cast<const uint4*>(p)); }

// Two values to bf16, to nearest with ties to even, the first in the low half. No flush of denormals.
__device__ inline uint32_t pack_bf16(float first, float second) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  uint32_t bits;
  memcpy(&bits, &pair, sizeof bits);
  return bits;
}

// Eight consecutive values in as few stores as their type allows. REQUIRES out aligned to 16 bytes.
__device__ inline void store8(__nv_bfloat16* out, const float (&v)[8]) {
  *reinterpret_cast<uint4*>(out) =
      make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
}
__device__ inline void store8(float* out, const float (&v)[8]) {
  reinterpret_cast<float4*>(out)[0] = make_float4(v[0], v[1], v[2], v[3]);
  reinterpret_cast<float4*>(out)[1] = make_float4(v[4], v[5], v[6], v[7]);
}

__device__ inline void store1(__nv_bfloat16* out, float v) { *out = __float2bfloat16_rn(v); }
__device__ inline void store1(float* out, float v) { *out = v; }

}  // namespace nibble::gpu
