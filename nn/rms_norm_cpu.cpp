#include "nn/rms_norm_cpu.h"

#include "nn/rms_norm_math.h"
#include "nn/vectorize.h"

namespace nibble::nn {
namespace {

// A row's sums always run in the same lanes and order, so they do not depend on threads or instruction set.
template <class Element>
NIBBLE_INLINE double sum_of_squares(const Element* x, int64_t width) {
  float lanes[kRowLanes] = {};
  int64_t i = 0;
  for (; i + kRowLanes <= width; i += kRowLanes) {
    for (int64_t l = 0; l < kRowLanes; ++l) {
      const float v = load_element(x, i + l);
      lanes[l] += v * v;
    }
  }
  for (int64_t l = 0; i < width; ++i, ++l) {
    const float v = load_element(x, i);
    lanes[l] += v * v;
  }
  return sum_lanes(lanes);
}

template <class Element>
NIBBLE_INLINE double weighted_dot(const Element* dy, const Element* weight, const Element* x, int64_t width) {
  float lanes[kRowLanes] = {};
  int64_t i = 0;
  for (; i + kRowLanes <= width; i += kRowLanes) {
    for (int64_t l = 0; l < kRowLanes; ++l) {
      lanes[l] += round_to<Element>(load_element(dy, i + l) * load_element(weight, i + l)) * load_element(x, i + l);
    }
  }
  for (int64_t l = 0; i < width; ++i, ++l) {
    lanes[l] += round_to<Element>(load_element(dy, i) * load_element(weight, i)) * load_element(x, i);
  }
  return sum_lanes(lanes);
}

template <class Element>
NIBBLE_INLINE void forward_rows(const RmsNormRows<Element>& rows, int64_t begin, int64_t end) {
  const int64_t width = rows.width;
  const Element* weight = rows.weight;
  for (int64_t r = begin; r < end; ++r) {
    Element* x = rows.x + r * rows.x_stride;
    Element* y = rows.y + r * rows.y_stride;
    if (rows.delta != nullptr) {
      const Element* delta = rows.delta + r * rows.delta_stride;
      for (int64_t i = 0; i < width; ++i) store_element(x, i, load_element(x, i) + load_element(delta, i));
    }
    const float rstd = rms_norm_rstd(sum_of_squares(x, width), width, rows.eps);
    if (rows.rstd != nullptr) rows.rstd[r] = rstd;
    for (int64_t i = 0; i < width; ++i) {
      store_element(y, i, round_to<Element>(load_element(x, i) * rstd) * load_element(weight, i));
    }
  }
}

template <class Element>
NIBBLE_INLINE void backward_rows(const RmsNormGradRows<Element>& rows, int64_t begin, int64_t end) {
  const int64_t width = rows.width;
  const Element* weight = rows.weight;
  for (int64_t r = begin; r < end; ++r) {
    const Element* dy = rows.dy + r * rows.dy_stride;
    const Element* x = rows.x + r * rows.x_stride;
    Element* dx = rows.dx + r * rows.dx_stride;
    const float rstd = rows.rstd[r];
    const float factor = rms_norm_backward_factor(weighted_dot(dy, weight, x, width), width, rstd);
    if (rows.accumulate) {
      for (int64_t i = 0; i < width; ++i) {
        const float g = round_to<Element>(load_element(dy, i) * load_element(weight, i));
        store_element(dx, i, load_element(dx, i) + rstd * (g - load_element(x, i) * factor));
      }
    } else {
      for (int64_t i = 0; i < width; ++i) {
        const float g = round_to<Element>(load_element(dy, i) * load_element(weight, i));
        store_element(dx, i, rstd * (g - load_element(x, i) * factor));
      }
    }
  }
}

}  // namespace

NIBBLE_CLONES void rms_norm_cpu(const RmsNormRows<float>& rows, int64_t begin, int64_t end) {
  forward_rows(rows, begin, end);
}
NIBBLE_CLONES void rms_norm_cpu(const RmsNormRows<uint16_t>& rows, int64_t begin, int64_t end) {
  forward_rows(rows, begin, end);
}
NIBBLE_CLONES void rms_norm_backward_cpu(const RmsNormGradRows<float>& rows, int64_t begin, int64_t end) {
  backward_rows(rows, begin, end);
}
NIBBLE_CLONES void rms_norm_backward_cpu(const RmsNormGradRows<uint16_t>& rows, int64_t begin, int64_t end) {
  backward_rows(rows, begin, end);
}

}  // namespace nibble::nn
