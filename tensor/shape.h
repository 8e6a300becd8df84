// Shape checks that execute the shape comments of our declarations.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <initializer_list>
#include <stdexcept>

#include "tensor/torch.h"

namespace nibble::tensor {

// Throws std::logic_error unless t has this shape; -1 matches any size. For our own mistakes: input is checked
// with its own errors before it becomes a tensor argument.
inline void expect_shape(const Tensor& t, std::initializer_list<int64_t> shape, const char* name) {
  bool same = t.dim() == static_cast<int64_t>(shape.size());
  int64_t axis = 0;
  for (int64_t n : shape) {
    if (!same) break;
    same = n < 0 || t.size(axis) == n;
    ++axis;
  }
  if (!same) {
    throw std::logic_error(fmt::format("{} has shape [{}], expected [{}]", name, fmt::join(t.sizes().vec(), ","),
                                       fmt::join(std::vector<int64_t>(shape), ",")));
  }
}

}  // namespace nibble::tensor
