// The update kernel's body, as templates over a rule (optim/update_math.h): a rule's x_cuda.cu instantiates it. Geometry:
// optim/update_launch.h.
#pragma once

#include <stdexcept>
#include <string>

#include "gpu/device.cuh"
#include "gpu/launch.cuh"
#include "optim/update_launch.h"

namespace nibble::optim {

// The parameter that the model reads is the rounded master.
__device__ inline void store_parameter(const UpdateSpan& span, int i, float master) {
  if (span.parameter_is_bf16) {
    gpu::store1(static_cast<__nv_bfloat16*>(span.parameter) + i, master);
  } else {
    static_cast<float*>(span.parameter)[i] = master;
  }
}

// fp32 state. A few rounds are loaded before the first is stored: the compiler may not move loads above stores itself.
template <class Rule>
__device__ void update_values(const UpdateSpan& span, const UpdateScalars& s) {
  constexpr int kAtOnce = 4;
  auto* const moments_m = static_cast<float*>(span.m);
  auto* const moments_v = static_cast<float*>(span.v);
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll 1
  for (int first = 0; first < kChunkRounds && chunk_element(0, first) < span.n; first += kAtOnce) {
    float gradient[kAtOnce], master[kAtOnce], m[kAtOnce], v[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int i = chunk_element(thread, first + k);
      gradient[k] = master[k] = m[k] = v[k] = 0.0f;
      if (i < span.n) {
        gradient[k] = __ldcs(span.gradient + i);
        master[k] = span.master[i];
        m[k] = moments_m[i];
        if constexpr (Rule::kMoments == 2) v[k] = moments_v[i];
      }
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int i = chunk_element(thread, first + k);
      const float updated = Rule::update(s, gradient[k], master[k], m[k], v[k]);
      if (i < span.n) {
        span.master[i] = updated;
        store_parameter(span, i, updated);
        moments_m[i] = m[k];
        if constexpr (Rule::kMoments == 2) moments_v[i] = v[k];
      }
    }
  }
}

__device__ inline uint32_t warp_max(uint32_t value) {
#pragma unroll
  for (int offset = gpu::kWarpThreads / 2; offset > 0; offset /= 2) {
    const uint32_t other = __shfl_xor_sync(0xFFFFFFFFu, value, offset);
    value = other > value ? other : value;
  }
  return value;
}

// 8-bit state: one block of values by one warp.
template <class Rule>
__device__ void update_block(const UpdateSpan& span, int block, const UpdateScalars& s, const MomentTables& tables) {
  auto* const codes_m = static_cast<uint8_t*>(span.m);
  auto* const codes_v = static_cast<uint8_t*>(span.v);
  const int lane = static_cast<int>(threadIdx.x) % gpu::kWarpThreads, begin = block * kMomentBlock;
  const float scale_m = span.absmax_m[block];
  float scale_v = 0.0f;
  if constexpr (Rule::kMoments == 2) scale_v = span.absmax_v[block];
  float gradient[kLaneElements], master[kLaneElements], m[kLaneElements], v[kLaneElements];
#pragma unroll
  for (int round = 0; round < kLaneElements; ++round) {
    const int i = begin + moment_element(lane, round);
    gradient[round] = master[round] = m[round] = v[round] = 0.0f;
    if (i < span.n) {
      gradient[round] = __ldcs(span.gradient + i);
      master[round] = span.master[i];
      m[round] = tables.m.map[codes_m[i]] * scale_m;
      if constexpr (Rule::kMoments == 2) v[round] = tables.v.map[codes_v[i]] * scale_v;
    }
  }
  uint32_t largest_m = 0, largest_v = 0;
#pragma unroll
  for (int round = 0; round < kLaneElements; ++round) {
    const int i = begin + moment_element(lane, round);
    const float updated = Rule::update(s, gradient[round], master[round], m[round], v[round]);
    if (i < span.n) {
      span.master[i] = updated;
      store_parameter(span, i, updated);
      const uint32_t magnitude_m = magnitude_bits(m[round]), magnitude_v = magnitude_bits(v[round]);
      largest_m = magnitude_m > largest_m ? magnitude_m : largest_m;
      largest_v = magnitude_v > largest_v ? magnitude_v : largest_v;
    }
  }
  // Every lane has read the old scale before the shuffles of warp_max, and only after them is it replaced.
  const float absmax_m = float_of_bits(warp_max(largest_m));
  const float absmax_v = Rule::kMoments == 2 ? float_of_bits(warp_max(largest_v)) : 0.0f;
  if (lane == 0) {
    span.absmax_m[block] = absmax_m;
    if constexpr (Rule::kMoments == 2) span.absmax_v[block] = absmax_v;
  }
#pragma unroll
  for (int round = 0; round < kLaneElements; ++round) {
    const int i = begin + moment_element(lane, round);
    if (i < span.n) {
      codes_m[i] = encode_m(tables.m.tree, m[round], absmax_m);
      if constexpr (Rule::kMoments == 2) codes_v[i] = encode_v(tables.v.tree, v[round], absmax_v);
    }
  }
}

template <class Rule>
__device__ void update_codes(const UpdateSpan& span, const UpdateScalars& s, const MomentTables& device_tables) {
  __shared__ MomentTables tables;
  constexpr int kFloats = sizeof(MomentTables) / sizeof(float);
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < kFloats; i += kChunkThreads) {
    reinterpret_cast<float*>(&tables)[i] = reinterpret_cast<const float*>(&device_tables)[i];
  }
  __syncthreads();
#pragma unroll 1  // one block's values fill the registers
  for (int round = 0; round < kWarpBlocks; ++round) {
    const int block = moment_block(thread / gpu::kWarpThreads, round);
    if (block * kMomentBlock < span.n) update_block<Rule>(span, block, s, tables);
  }
}

// kEightBit: some segments may have 8-bit state.
template <class Rule, bool kEightBit>
__device__ void update_chunk(const UpdateLaunch& launch) {
  if (launch.state->refused_step != 0) return;
  const UpdateScalars s = launch.state->scalars;
  const UpdateChunk chunk = launch.chunks[blockIdx.x];
  const UpdateSpan span = span_of(launch.segments[chunk.segment], chunk, launch.window, launch.window_offset);
  if constexpr (kEightBit) {
    if (span.absmax_m != nullptr) return update_codes<Rule>(span, s, *launch.tables);
  }
  update_values<Rule>(span, s);
}

inline void check_launch(const char* name, const UpdateLaunch& launch) {
  if (launch.segments == nullptr || launch.chunks == nullptr || launch.window == nullptr || launch.state == nullptr) {
    throw std::invalid_argument(std::string(name) + ": a pointer is null");
  }
}

}  // namespace nibble::optim
