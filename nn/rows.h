// Tensors as rows of adjacent bf16 or fp32 elements: the checks and the parallel loop of the element-wise operations.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "core/round_up.h"
#include "nn/each_task.h"
#include "tensor/shape.h"
#include "tensor/torch.h"

namespace nibble::nn {

// THROWS std::logic_error unless the dtype is bf16 or fp32 and the last dimension's elements are adjacent. -> dtype
inline at::ScalarType expect_elements(const Tensor& t, const char* name) {
  if (t.scalar_type() != at::kFloat && t.scalar_type() != at::kBFloat16) {
    throw std::logic_error(fmt::format("{} has dtype {}, expected bf16 or fp32", name, c10::toString(t.scalar_type())));
  }
  if (t.dim() == 0 || (t.size(-1) > 1 && t.stride(-1) != 1)) {
    throw std::logic_error(fmt::format("{}: the elements of a row are not adjacent", name));
  }
  return t.scalar_type();
}

inline at::ScalarType expect_rows(const Tensor& t, const char* name) {
  tensor::expect_shape(t, {-1, -1}, name);
  return expect_elements(t, name);
}

inline void expect_rows_like(const Tensor& t, const Tensor& model, const char* name) {
  tensor::expect_shape(t, {model.size(0), model.size(1)}, name);
  if (expect_elements(t, name) != model.scalar_type()) {
    throw std::logic_error(fmt::format("{} has dtype {}, expected {}", name, c10::toString(t.scalar_type()),
                                       c10::toString(model.scalar_type())));
  }
}

inline void expect_contiguous(const Tensor& t, at::ScalarType dtype, const char* name) {
  if (t.scalar_type() != dtype || !t.is_contiguous()) {
    throw std::logic_error(fmt::format("{} has dtype {}, expected contiguous {}", name, c10::toString(t.scalar_type()),
                                       c10::toString(dtype)));
  }
}

// uint16_t stands for bf16 bits.
template <class Element>
Element* elements(const Tensor& t) {
  return static_cast<Element*>(t.data_ptr());
}

// Runs work(begin, end) over all rows, in pieces of at least a few thousand elements that threads take as they finish.
template <class Work>
void parallel_rows(int64_t rows, int64_t elements_per_row, const Work& work) {
  constexpr int64_t kMinElements = 16384, kPiecesPerThread = 8;
  const int64_t least = std::max<int64_t>(1, kMinElements / std::max<int64_t>(1, elements_per_row));
  const int64_t piece = std::max(least, ceil_div(rows, kPiecesPerThread * at::get_num_threads()));
  each_task(ceil_div(rows, piece), [&](int64_t task, int64_t) { work(task * piece, std::min(rows, (task + 1) * piece)); });
}

}  // namespace nibble::nn
