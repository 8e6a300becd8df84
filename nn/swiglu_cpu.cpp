#include "nn/swiglu_cpu.h"

#include <algorithm>

#include "nn/swiglu_math.h"
#include "nn/vectorize.h"

namespace nibble::nn {
namespace {

// Results pass through a small buffer: the compiler then needs no proof that outputs do not overlap inputs.
constexpr int64_t kChunk = 256;

template <class Element>
NIBBLE_INLINE void swiglu_loop(const Element* gate, const Element* up, Element* out, int64_t n) {
  Element result[kChunk];
  for (int64_t first = 0; first < n; first += kChunk) {
    const int64_t count = std::min(kChunk, n - first);
    for (int64_t i = 0; i < count; ++i) {
      const float activated = round_to<Element>(silu_parts(load_element(gate, first + i)).silu);
      store_element(result, i, activated * load_element(up, first + i));
    }
    std::copy(result, result + count, out + first);
  }
}

// The rounding of autograd over silu and mul in the dtype: d(silu) = dout * up is rounded before silu's own backward.
template <class Element>
NIBBLE_INLINE void swiglu_backward_loop(const Element* dout, const Element* gate, const Element* up, Element* dgate,
                                        Element* dup, Element* act, int64_t n) {
  Element gate_result[kChunk], up_result[kChunk], act_result[kChunk];
  for (int64_t first = 0; first < n; first += kChunk) {
    const int64_t count = std::min(kChunk, n - first);
    for (int64_t i = 0; i < count; ++i) {
      const float g = load_element(gate, first + i), d = load_element(dout, first + i);
      const SiluParts parts = silu_parts(g);
      const float u = load_element(up, first + i), silu = round_to<Element>(parts.silu);
      const float d_silu = round_to<Element>(d * u);
      store_element(act_result, i, silu * u);
      store_element(up_result, i, d * silu);
      store_element(gate_result, i, d_silu * silu_derivative(g, parts.sigmoid));
    }
    std::copy(gate_result, gate_result + count, dgate + first);
    std::copy(up_result, up_result + count, dup + first);
    if (act != nullptr) std::copy(act_result, act_result + count, act + first);
  }
}

}  // namespace

NIBBLE_CLONES void swiglu_cpu(const float* gate, const float* up, float* out, int64_t n) { swiglu_loop(gate, up, out, n); }
NIBBLE_CLONES void swiglu_cpu(const uint16_t* gate, const uint16_t* up, uint16_t* out, int64_t n) {
  swiglu_loop(gate, up, out, n);
}
NIBBLE_CLONES void swiglu_backward_cpu(const float* dout, const float* gate, const float* up, float* dgate, float* dup,
                                       float* act, int64_t n) {
  swiglu_backward_loop(dout, gate, up, dgate, dup, act, n);
}
NIBBLE_CLONES void swiglu_backward_cpu(const uint16_t* dout, const uint16_t* gate, const uint16_t* up, uint16_t* dgate,
                                       uint16_t* dup, uint16_t* act, int64_t n) {
  swiglu_backward_loop(dout, gate, up, dgate, dup, act, n);
}

}  // namespace nibble::nn
