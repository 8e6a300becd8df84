#include "nn/cross_entropy_cpu.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "nn/cross_entropy_math.h"
#include "nn/vectorize.h"

namespace nibble::nn {
namespace {

constexpr int64_t kFlush = kRowLanes * 64;  // fp32 partial sums go to fp64 after 64 terms a lane

template <class Scalar>
NIBBLE_INLINE float row_max(const Scalar* row, int64_t n) {
  float lanes[kRowLanes];
  std::fill(lanes, lanes + kRowLanes, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kRowLanes <= n; i += kRowLanes) {
    for (int64_t l = 0; l < kRowLanes; ++l) {
      const float x = load_element(row, i + l);
      lanes[l] = lanes[l] < x ? x : lanes[l];
    }
  }
  for (; i < n; ++i) lanes[0] = std::max(lanes[0], load_element(row, i));
  return *std::max_element(lanes, lanes + kRowLanes);
}

template <class Scalar>
NIBBLE_INLINE double row_exp_sum(const Scalar* row, int64_t n, float max) {
  double sum = 0.0;
  int64_t i = 0;
  while (i + kRowLanes <= n) {
    const int64_t end = std::min(i + kFlush, n - n % kRowLanes);
    float lanes[kRowLanes] = {};
    for (; i < end; i += kRowLanes) {
      for (int64_t l = 0; l < kRowLanes; ++l) lanes[l] += exp_nonpositive(load_element(row, i + l) - max);
    }
    sum += sum_lanes(lanes);
  }
  for (; i < n; ++i) sum += exp_nonpositive(load_element(row, i) - max);
  return sum;
}

template <class Scalar>
NIBBLE_INLINE double cross_entropy_row(Scalar* row, int64_t vocab, int64_t target, bool gradient) {
  const float max = row_max(row, vocab);
  const double sum = row_exp_sum(row, vocab, max);
  const double nll = std::log(sum) + static_cast<double>(max) - static_cast<double>(load_element(row, target));
  if (gradient) {
    const auto inverse = static_cast<float>(1.0 / sum);
    const float p_target = exp_nonpositive(load_element(row, target) - max) * inverse;
    for (int64_t i = 0; i < vocab; ++i) store_element(row, i, exp_nonpositive(load_element(row, i) - max) * inverse);
    store_element(row, target, p_target - 1.0f);
  }
  return nll;
}

}  // namespace

NIBBLE_CLONES double cross_entropy_row_f32(float* row, int64_t vocab, int64_t target, bool gradient) {
  return cross_entropy_row(row, vocab, target, gradient);
}

NIBBLE_CLONES double cross_entropy_row_bf16(uint16_t* row, int64_t vocab, int64_t target, bool gradient) {
  return cross_entropy_row(row, vocab, target, gradient);
}

}  // namespace nibble::nn
