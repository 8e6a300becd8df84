// Memory that every step needs again, kept between the calls that use it: taken from and given back to malloc each time, pieces of some MiB
// leave holes that the next ones do not fit into, and a step takes up to a tenth more memory than is planned for it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/torch.h"

namespace nibble::nn {

// At least so many bytes, 64-byte aligned, of undefined content. `memory` is the user's own, static thread_local: valid until it is
// asked for more.
inline std::byte* kept_bytes(Tensor& memory, int64_t bytes) {
  if (!memory.defined() || memory.numel() < bytes) {
    memory = Tensor();  // first, so that there is room
    memory = at::empty({bytes}, at::kByte);
  }
  return static_cast<std::byte*>(memory.data_ptr());
}

}  // namespace nibble::nn
