// SwiGLU over a range of elements on plain pointers. Element: float, or uint16_t for bf16 bits.
#pragma once

#include <cstdint>

namespace nibble::nn {

void swiglu_cpu(const float* gate, const float* up, float* out, int64_t n);
void swiglu_cpu(const uint16_t* gate, const uint16_t* up, uint16_t* out, int64_t n);

// Any output may be any input; act, the forward's output once more, may be null.
void swiglu_backward_cpu(const float* dout, const float* gate, const float* up, float* dgate, float* dup, float* act,
                         int64_t n);
void swiglu_backward_cpu(const uint16_t* dout, const uint16_t* gate, const uint16_t* up, uint16_t* dgate, uint16_t* dup,
                         uint16_t* act, int64_t n);

}  // namespace nibble::nn
