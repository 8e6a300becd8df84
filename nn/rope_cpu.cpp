#include "nn/rope_cpu.h"

#include <algorithm>

#include "nn/vectorize.h"

namespace nibble::nn {
namespace {

constexpr int64_t kChunk = 128;  // pairs whose cosines are rounded once for all heads of a token

// Every product and the sum round to the dtype, as `q * cos + rotate_half(q) * sin` does in transformers.
template <class Element>
NIBBLE_INLINE void rotate(Element* low, Element* high, const float* cos, const float* sin, int64_t pairs) {
  for (int64_t i = 0; i < pairs; ++i) {
    const float a = load_element(low, i), b = load_element(high, i);
    store_element(low, i, round_to<Element>(a * cos[i]) - round_to<Element>(b * sin[i]));
    store_element(high, i, round_to<Element>(b * cos[i]) + round_to<Element>(a * sin[i]));
  }
}

template <class Element>
NIBBLE_INLINE void rope_rows(const RopeRows<Element>& rows, int64_t begin_token, int64_t end_token) {
  float cos[kChunk], sin[kChunk];
  const float sign = rows.inverse ? -1.0f : 1.0f;
  for (int64_t t = begin_token; t < end_token; ++t) {
    const int64_t table_row = static_cast<int64_t>(rows.positions[t]) * rows.half;
    for (int64_t first = 0; first < rows.half; first += kChunk) {
      const int64_t pairs = std::min(kChunk, rows.half - first);
      for (int64_t i = 0; i < pairs; ++i) {
        cos[i] = round_to<Element>(rows.cos[table_row + first + i]);
        sin[i] = sign * round_to<Element>(rows.sin[table_row + first + i]);
      }
      for (int64_t h = 0; h < rows.heads; ++h) {
        Element* low = rows.x + t * rows.token_stride + h * rows.head_stride + first;
        rotate(low, low + rows.half, cos, sin, pairs);
      }
    }
  }
}

}  // namespace

NIBBLE_CLONES void rope_cpu(const RopeRows<float>& rows, int64_t begin_token, int64_t end_token) {
  rope_rows(rows, begin_token, end_token);
}
NIBBLE_CLONES void rope_cpu(const RopeRows<uint16_t>& rows, int64_t begin_token, int64_t end_token) {
  rope_rows(rows, begin_token, end_token);
}

}  // namespace nibble::nn
