// One query against a cache of keys and values, for one head, on plain pointers. Element: float, or uint16_t for bf16
// bits. Strides count elements.
//
// NUMERICS: softmax in fp32, sums in fp32 in an order of the instruction set's own; with GemvIsa::kAvx512Bf16 scores of bf16 by
// vdpbf16ps, which takes denormals for zeros.
#pragma once

#include <cstdint>

#include "nn/gemv_cpu.h"

namespace nibble::nn {

template <class Element>
struct DecodeHead {
  const Element* q;   // [width]
  const Element* k;   // [keys] rows
  const Element* v;   // [keys] rows
  Element* out;       // [width]
  float* scores;      // [keys], scratch
  float* sums;        // [width], scratch
  int64_t k_stride, v_stride, keys, width;
  float scale;
};
// REQUIRES keys >= 1, an isa that this CPU has.
void attention_decode_cpu(const DecodeHead<float>& head, GemvIsa isa);
void attention_decode_cpu(const DecodeHead<uint16_t>& head, GemvIsa isa);

}  // namespace nibble::nn
