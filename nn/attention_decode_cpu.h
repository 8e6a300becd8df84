// One query against a cache of keys and values, for one head, on plain pointers. Element: float, or uint16_t for bf16
// bits. Strides count elements.
#pragma once

#include <cstdint>

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
void attention_decode_cpu(const DecodeHead<float>& head);
void attention_decode_cpu(const DecodeHead<uint16_t>& head);

}  // namespace nibble::nn
