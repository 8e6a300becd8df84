// Checks of weights that come from files.
#pragma once

#include <optional>
#include <string>

#include "core/error.h"
#include "tensor/torch.h"

namespace nibble::io {

// Flat index of the first NaN or infinity. REQUIRES contiguous bf16, fp16 or fp32 on the CPU.
std::optional<int64_t> first_non_finite(const Tensor& tensor);

// THROWS FormatError with `place`, naming the weight, the index and the value.
void expect_finite(const Tensor& tensor, const std::string& name, const Place& place);

}  // namespace nibble::io
