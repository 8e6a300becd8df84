// Rows of bf16 bits as plain pointers, for the loops that know no LibTorch.
#pragma once

#include <cstdint>

namespace nibble::nn {

struct ConstRows {
  const uint16_t* data;
  int64_t stride;  // elements between rows
};

}  // namespace nibble::nn
