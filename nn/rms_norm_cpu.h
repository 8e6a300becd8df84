// Rows of RMSNorm on plain pointers. Element: float, or uint16_t for bf16 bits. Strides count elements.
#pragma once

#include <cstdint>

namespace nibble::nn {

template <class Element>
struct RmsNormRows {
  Element* x;              // read; with delta, x += delta first
  const Element* delta;    // or nullptr
  const Element* weight;   // [width]
  Element* y;
  float* rstd;             // one a row, or nullptr
  int64_t x_stride, delta_stride, y_stride, width;
  double eps;
};
void rms_norm_cpu(const RmsNormRows<float>& rows, int64_t begin, int64_t end);
void rms_norm_cpu(const RmsNormRows<uint16_t>& rows, int64_t begin, int64_t end);

template <class Element>
struct RmsNormGradRows {
  const Element* dy;
  const Element* x;
  const Element* weight;   // [width]
  const float* rstd;
  Element* dx;
  int64_t dy_stride, x_stride, dx_stride, width;
  bool accumulate;         // dx += instead of dx =
};
void rms_norm_backward_cpu(const RmsNormGradRows<float>& rows, int64_t begin, int64_t end);
void rms_norm_backward_cpu(const RmsNormGradRows<uint16_t>& rows, int64_t begin, int64_t end);

}  // namespace nibble::nn
