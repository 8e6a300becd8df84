// What is in a tensor, in a few numbers: how large its values are, and how many are none.
#pragma once

#include <cmath>
#include <cstdint>

#include "nn/place.h"
#include "tensor/torch.h"

namespace nibble::trainer {

struct TensorStats {
  int64_t count = 0;               // values
  int64_t non_finite = 0;          // of those, infinite or NaN
  int64_t first_non_finite = -1;   // the first of them, counted through the tensor; -1: there is none
  double square_sum = 0.0;         // of the finite ones, in fp64 and in order

  double rms() const { return count > non_finite ? std::sqrt(square_sum / static_cast<double>(count - non_finite)) : 0.0; }
  double norm() const { return std::sqrt(square_sum); }
  // Adds those of a tensor of the same kind; first_non_finite stays this one's.
  void add(const TensorStats& other);
};

// Of a tensor of any float dtype at `place`; on a device, waits for what is queued, and copies.
TensorStats tensor_stats(const Tensor& tensor, const nn::Place& place);

// Whether tensor_stats would find no value that is not finite; at memory's speed for fp32 and bf16.
bool all_finite(const Tensor& tensor, const nn::Place& place);

}  // namespace nibble::trainer
