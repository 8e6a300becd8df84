// The loops are plain C++ over independent lanes; the compiler makes a version for each instruction set and the loader
// picks one (target_clones). No version may contract a*b+c, so all of them give the same bits.
#include "nn/cross_entropy_cpu.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "nn/cross_entropy_math.h"

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define NIBBLE_VECTORIZE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define NIBBLE_VECTORIZE
#endif

namespace nibble::nn {
namespace {

constexpr int64_t kLanes = 32;
constexpr int64_t kFlush = kLanes * 64;  // fp32 partial sums go to fp64 after 64 terms a lane

inline float load(const float* row, int64_t i) { return row[i]; }
inline float load(const uint16_t* row, int64_t i) { return bf16_to_float(row[i]); }
inline void store(float* row, int64_t i, float value) { row[i] = value; }
inline void store(uint16_t* row, int64_t i, float value) { row[i] = float_to_bf16(value); }

template <class Scalar>
inline __attribute__((always_inline)) float row_max(const Scalar* row, int64_t n) {
  float lanes[kLanes];
  std::fill(lanes, lanes + kLanes, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) {
      const float x = load(row, i + l);
      lanes[l] = lanes[l] < x ? x : lanes[l];
    }
  }
  for (; i < n; ++i) lanes[0] = std::max(lanes[0], load(row, i));
  return *std::max_element(lanes, lanes + kLanes);
}

template <class Scalar>
inline __attribute__((always_inline)) double row_exp_sum(const Scalar* row, int64_t n, float max) {
  double sum = 0.0;
  int64_t i = 0;
  while (i + kLanes <= n) {
    const int64_t end = std::min(i + kFlush, n - n % kLanes);
    float lanes[kLanes] = {};
    for (; i < end; i += kLanes) {
      for (int64_t l = 0; l < kLanes; ++l) lanes[l] += exp_nonpositive(load(row, i + l) - max);
    }
    for (float lane : lanes) sum += lane;
  }
  for (; i < n; ++i) sum += exp_nonpositive(load(row, i) - max);
  return sum;
}

template <class Scalar>
inline __attribute__((always_inline)) double cross_entropy_row(Scalar* row, int64_t vocab, int64_t target, bool gradient) {
  const float max = row_max(row, vocab);
  const double sum = row_exp_sum(row, vocab, max);
  const double nll = std::log(sum) + static_cast<double>(max) - static_cast<double>(load(row, target));
  if (gradient) {
    const auto inverse = static_cast<float>(1.0 / sum);
    const float p_target = exp_nonpositive(load(row, target) - max) * inverse;
    for (int64_t i = 0; i < vocab; ++i) store(row, i, exp_nonpositive(load(row, i) - max) * inverse);
    store(row, target, p_target - 1.0f);
  }
  return nll;
}

}  // namespace

NIBBLE_VECTORIZE double cross_entropy_row_f32(float* row, int64_t vocab, int64_t target, bool gradient) {
  return cross_entropy_row(row, vocab, target, gradient);
}

NIBBLE_VECTORIZE double cross_entropy_row_bf16(uint16_t* row, int64_t vocab, int64_t target, bool gradient) {
  return cross_entropy_row(row, vocab, target, gradient);
}

}  // namespace nibble::nn
