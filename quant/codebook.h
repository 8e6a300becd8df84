// The fixed tables of 4-bit and 8-bit blockwise quantization: what a code decodes to, and where one code ends and the
// next begins. This is the only copy in the tree (ctest meta.constants); CUDA kernels get them as arguments.
//
// Source: bitsandbytes, csrc/kernels.cu (NF4 after Dettmers et al., "QLoRA", 2023, appendix E) and
// functional.create_dynamic_map (Dettmers, "8-bit approximations", 2015). C++17, for the CUDA compiler.
#pragma once

#include <array>

#include "schema/enums.h"

namespace nibble::quant {

// NF4: quantiles of a normal distribution scaled to [-1, 1], with an exact zero (code 7). Ascending.
inline constexpr std::array<float, 16> kNf4Codebook = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

// A normalized value takes code k when exactly k thresholds are below it (strictly): the fp32 midpoints.
constexpr std::array<float, 15> nf4_thresholds() {
  std::array<float, 15> thresholds{};
  for (int k = 0; k < 15; ++k) thresholds[k] = (kNf4Codebook[k] + kNf4Codebook[k + 1]) * 0.5f;
  return thresholds;
}
inline constexpr std::array<float, 15> kNf4Thresholds = nf4_thresholds();

// FP4: a sign (bit 3), two exponent bits and one mantissa bit. Code 8 is -0.0.
inline constexpr std::array<float, 16> kFp4Codebook = {
    0.0f,  0.005208333333f,  0.66666667f,  1.0f,  0.33333333f,  0.5f,  0.16666667f,  0.25f,
    -0.0f, -0.005208333333f, -0.66666667f, -1.0f, -0.33333333f, -0.5f, -0.16666667f, -0.25f,
};

inline const std::array<float, 16>& codebook(QuantType type) { return type == QuantType::kNf4 ? kNf4Codebook : kFp4Codebook; }

// On magnitudes. Rounded literals as in the CUDA kernel, not midpoints: 0.583333f is 6 ulp from the midpoint.
inline constexpr std::array<float, 7> kFp4Thresholds = {
    0.00260417f, 0.0859375f, 0.20833333f, 0.29166667f, 0.4166667f, 0.583333f, 0.8333333f,
};

// The code of the magnitude above k thresholds.
inline constexpr std::array<unsigned char, 8> kFp4CodeBySize = {0, 1, 6, 7, 4, 5, 2, 3};

// The dynamic maps: seven decades, each divided evenly and finer the larger it is; the largest value is 1. Ascending.
// The signed map has as many negative values; the unsigned one twice as many in each decade.
constexpr std::array<float, 256> make_dynamic_map(bool is_signed) {
  // 10^(d-6), each the fp32 nearest to the double that Python's power gives.
  constexpr float kDecades[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
  std::array<float, 256> map{};
  int count = 0;
  for (int decade = 0; decade < 7; ++decade) {
    const int items = (is_signed ? 1 : 2) << decade;
    // torch.linspace(0.1, 1, items + 1) in fp32 runs from both ends to the middle, with one rounding (its vector code
    // fuses the multiply-add); the product of two floats is exact in double.
    const float step = (1.0f - 0.1f) / static_cast<float>(items);
    float previous = 0.1f;
    for (int i = 1; i <= items; ++i) {
      const double boundary_exact = i < (items + 1) / 2 ? double{0.1f} + double{step} * i : 1.0 - double{step} * (items - i);
      const float boundary = static_cast<float>(boundary_exact);
      const float mean = (previous + boundary) / 2.0f;
      map[count++] = kDecades[decade] * mean;
      if (is_signed) map[count++] = -(kDecades[decade] * mean);
      previous = boundary;
    }
  }
  map[count++] = 0.0f;
  map[count++] = 1.0f;
  for (int i = 1; i < count; ++i) {  // insertion sort: std::sort is not constexpr in C++17
    const float value = map[i];
    int at = i;
    for (; at > 0 && map[at - 1] > value; --at) map[at] = map[at - 1];
    map[at] = value;
  }
  return map;
}
inline constexpr std::array<float, 256> kDynamicMapSigned = make_dynamic_map(true);
inline constexpr std::array<float, 256> kDynamicMapUnsigned = make_dynamic_map(false);

}  // namespace nibble::quant
