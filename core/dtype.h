// Element types of the tensors in files (safetensors names).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace nibble {

enum class DType : uint8_t { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU8, kBool, kF8E4M3, kF8E5M2 };

int64_t dtype_bytes(DType dtype);
std::string_view dtype_name(DType dtype);                       // "BF16", as safetensors writes it
std::optional<DType> dtype_from_name(std::string_view name);    // nullopt: unknown

}  // namespace nibble
