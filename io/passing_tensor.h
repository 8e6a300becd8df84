// Memory for a weight that is about to be converted and released.
#pragma once

#include "tensor/torch.h"

namespace nibble::io {

// An uninitialized tensor in pages of its own, which go back to the system when it is released. On the heap, decoded
// weights that come and go between packed ones that stay leave holes: 100 MB of them with a model of 135M parameters.
// THROWS OutOfMemoryError
Tensor passing_tensor(at::IntArrayRef shape, at::ScalarType dtype);

}  // namespace nibble::io
