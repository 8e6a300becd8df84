// What an optimizer step works through, as plain pointers and offsets (C++17, no LibTorch, no CUDA): the same table drives
// the loops of the CPU and, copied to the device, one launch over all parameters.
#pragma once

#include <cstddef>
#include <cstdint>

#include "optim/update_math.h"

namespace nibble::optim {

// One parameter, and where its state lies in the arena, in bytes from the arena's beginning. Each part starts on a 64-byte
// boundary. 32-bit state: m and v are fp32 [n]. 8-bit state: m and v are codes [n], with a scale for each kMomentBlock of
// them. Parts that the optimizer does not have are -1.
struct UpdateSegment {
  const float* gradient = nullptr;  // [n]
  void* parameter = nullptr;        // [n], bf16 or fp32
  int64_t n = 0;
  int64_t master = -1;              // fp32 [n]
  int64_t m = -1;
  int64_t v = -1;
  int64_t absmax_m = -1;            // fp32 [blocks]; -1: 32-bit state
  int64_t absmax_v = -1;
  bool parameter_is_bf16 = false;
};

// Elements [begin, begin + kChunkElements) of a segment, as far as they exist. REQUIRES begin a multiple of kChunkElements.
struct UpdateChunk {
  int64_t begin = 0;
  int64_t segment = 0;
};

// A chunk's elements.
struct UpdateSpan {
  const float* gradient;  // [n]
  void* parameter;        // [n], written: the master, rounded to bf16 where the parameter is bf16
  float* master;          // [n]
  void* m;                // [n], fp32 or 8-bit codes
  void* v;                // as m; null with one moment
  float* absmax_m;        // [ceil(n/kMomentBlock)]; null: fp32 state
  float* absmax_v;
  int n;
  bool parameter_is_bf16;
};

NIBBLE_HOST_DEVICE inline int chunk_count(const UpdateSegment& segment, const UpdateChunk& chunk) {
  const int64_t left = segment.n - chunk.begin;
  return static_cast<int>(left < kChunkElements ? left : kChunkElements);
}

// `window` is where the arena's byte `window_offset` lies now (optim/state_memory.h).
NIBBLE_HOST_DEVICE inline UpdateSpan span_of(const UpdateSegment& segment, const UpdateChunk& chunk, std::byte* window,
                                             int64_t window_offset) {
  const int64_t begin = chunk.begin, block = begin / kMomentBlock;
  const bool has_codes = segment.absmax_m >= 0, has_v = segment.v >= 0;
  const int64_t moment_bytes = has_codes ? 1 : static_cast<int64_t>(sizeof(float));
  const auto at = [=](int64_t offset) { return window + (offset - window_offset); };
  UpdateSpan span;
  span.gradient = segment.gradient + begin;
  span.parameter = static_cast<std::byte*>(segment.parameter) + begin * (segment.parameter_is_bf16 ? 2 : 4);
  span.master = reinterpret_cast<float*>(at(segment.master)) + begin;
  span.m = at(segment.m) + begin * moment_bytes;
  span.v = has_v ? at(segment.v) + begin * moment_bytes : nullptr;
  span.absmax_m = has_codes ? reinterpret_cast<float*>(at(segment.absmax_m)) + block : nullptr;
  span.absmax_v = has_codes && has_v ? reinterpret_cast<float*>(at(segment.absmax_v)) + block : nullptr;
  span.n = chunk_count(segment, chunk);
  span.parameter_is_bf16 = segment.parameter_is_bf16;
  return span;
}

}  // namespace nibble::optim
