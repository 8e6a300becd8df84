#include "nn/attention_decode_cpu.h"

#include <algorithm>

#include "nn/cross_entropy_math.h"
#include "nn/vectorize.h"

namespace nibble::nn {
namespace {

template <class Element>
NIBBLE_INLINE float dot(const Element* a, const Element* b, int64_t n) {
  float lanes[kRowLanes] = {};
  int64_t i = 0;
  for (; i + kRowLanes <= n; i += kRowLanes) {
    for (int64_t l = 0; l < kRowLanes; ++l) lanes[l] += load_element(a, i + l) * load_element(b, i + l);
  }
  for (int64_t l = 0; i < n; ++i, ++l) lanes[l] += load_element(a, i) * load_element(b, i);
  return static_cast<float>(sum_lanes(lanes));
}

template <class Element>
NIBBLE_INLINE void decode(const DecodeHead<Element>& head) {
  float max = -__builtin_inff();
  for (int64_t j = 0; j < head.keys; ++j) {
    head.scores[j] = head.scale * dot(head.q, head.k + j * head.k_stride, head.width);
    max = std::max(max, head.scores[j]);
  }
  std::fill(head.sums, head.sums + head.width, 0.0f);
  // All at once, so that the compiler makes vectors of them.
  for (int64_t j = 0; j < head.keys; ++j) head.scores[j] = exp_nonpositive(head.scores[j] - max);
  double total = 0.0;
  for (int64_t j = 0; j < head.keys; ++j) {
    const float p = head.scores[j];
    total += p;
    const Element* v = head.v + j * head.v_stride;
    for (int64_t i = 0; i < head.width; ++i) head.sums[i] += p * load_element(v, i);
  }
  const auto inverse = static_cast<float>(1.0 / total);
  for (int64_t i = 0; i < head.width; ++i) store_element(head.out, i, head.sums[i] * inverse);
}

}  // namespace

NIBBLE_CLONES void attention_decode_cpu(const DecodeHead<float>& head) { decode(head); }
NIBBLE_CLONES void attention_decode_cpu(const DecodeHead<uint16_t>& head) { decode(head); }

}  // namespace nibble::nn
