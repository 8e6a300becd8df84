#include "core/dtype.h"

#include <gtest/gtest.h>

namespace nibble {
namespace {

TEST(DType, NamesAndSizesAreThoseOfSafetensors) {
  struct Row {
    const char* name;
    int64_t bytes;
  };
  for (const Row& row : {Row{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"I16", 2}, {"I8", 1},
                         {"U8", 1}, {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}}) {
    const auto dtype = dtype_from_name(row.name);
    ASSERT_TRUE(dtype.has_value()) << row.name;
    EXPECT_EQ(dtype_name(*dtype), row.name);
    EXPECT_EQ(dtype_bytes(*dtype), row.bytes) << row.name;
  }
}

TEST(DType, UnknownNamesHaveNone) {
  EXPECT_FALSE(dtype_from_name("f32").has_value());
  EXPECT_FALSE(dtype_from_name("").has_value());
  EXPECT_FALSE(dtype_from_name("F4").has_value());
}

}  // namespace
}  // namespace nibble
