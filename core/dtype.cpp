#include "core/dtype.h"

#include <array>
#include <utility>

namespace nibble {
namespace {
struct Row {
  DType dtype;
  std::string_view name;
  int64_t bytes;
};
constexpr std::array<Row, 12> kRows{{{DType::kF64, "F64", 8},
                                     {DType::kF32, "F32", 4},
                                     {DType::kF16, "F16", 2},
                                     {DType::kBF16, "BF16", 2},
                                     {DType::kI64, "I64", 8},
                                     {DType::kI32, "I32", 4},
                                     {DType::kI16, "I16", 2},
                                     {DType::kI8, "I8", 1},
                                     {DType::kU8, "U8", 1},
                                     {DType::kBool, "BOOL", 1},
                                     {DType::kF8E4M3, "F8_E4M3", 1},
                                     {DType::kF8E5M2, "F8_E5M2", 1}}};
}  // namespace

int64_t dtype_bytes(DType dtype) { return kRows[static_cast<size_t>(dtype)].bytes; }
std::string_view dtype_name(DType dtype) { return kRows[static_cast<size_t>(dtype)].name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

}  // namespace nibble
