#include "nn/attention_decode_cpu.h"

#include <algorithm>

#include "nn/attention_decode_simd.h"
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
NIBBLE_INLINE float all_scores(const DecodeHead<Element>& head) {
  float max = -__builtin_inff();
  for (int64_t j = 0; j < head.keys; ++j) {
    head.scores[j] = head.scale * dot(head.q, head.k + j * head.k_stride, head.width);
    max = std::max(max, head.scores[j]);
  }
  return max;
}

template <class Element>
NIBBLE_INLINE void all_sums(const DecodeHead<Element>& head) {
  std::fill(head.sums, head.sums + head.width, 0.0f);
  for (int64_t j = 0; j < head.keys; ++j) {
    const float p = head.scores[j];
    const Element* v = head.v + j * head.v_stride;
    for (int64_t i = 0; i < head.width; ++i) head.sums[i] += p * load_element(v, i);
  }
}

NIBBLE_CLONES float scores_of(const DecodeHead<float>& head) { return all_scores(head); }
NIBBLE_CLONES float scores_of(const DecodeHead<uint16_t>& head) { return all_scores(head); }
NIBBLE_CLONES void sums_of(const DecodeHead<float>& head) { all_sums(head); }
NIBBLE_CLONES void sums_of(const DecodeHead<uint16_t>& head) { all_sums(head); }

// Scores to weights that are not normalized; returns their sum.
NIBBLE_CLONES double weights_of(float* scores, int64_t keys, float max) {
  // All at once, so that the compiler makes vectors of them.
  for (int64_t j = 0; j < keys; ++j) scores[j] = exp_nonpositive(scores[j] - max);
  double total = 0.0;
  for (int64_t j = 0; j < keys; ++j) total += scores[j];
  return total;
}

template <class Element>
NIBBLE_INLINE void all_outputs(const DecodeHead<Element>& head, float inverse) {
  for (int64_t i = 0; i < head.width; ++i) store_element(head.out, i, head.sums[i] * inverse);
}
NIBBLE_CLONES void outputs_of(const DecodeHead<float>& head, float inverse) { all_outputs(head, inverse); }
NIBBLE_CLONES void outputs_of(const DecodeHead<uint16_t>& head, float inverse) { all_outputs(head, inverse); }

template <class Element>
void decode(const DecodeHead<Element>& head, float (*scores)(const DecodeHead<Element>&), void (*sums)(const DecodeHead<Element>&)) {
  const double total = weights_of(head.scores, head.keys, scores(head));
  sums(head);
  outputs_of(head, static_cast<float>(1.0 / total));
}

}  // namespace

void attention_decode_cpu(const DecodeHead<float>& head, GemvIsa) { decode<float>(head, scores_of, sums_of); }

void attention_decode_cpu(const DecodeHead<uint16_t>& head, [[maybe_unused]] GemvIsa isa) {
#if defined(__x86_64__)
  if (isa == GemvIsa::kAvx512Bf16 && has_decode_kernel(head.width)) return decode<uint16_t>(head, decode_scores_avx512_bf16, decode_sums_avx512_bf16);
#endif
  decode<uint16_t>(head, scores_of, sums_of);
}

}  // namespace nibble::nn
