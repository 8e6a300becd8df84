#include "core/error.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace nibble {
namespace {

TEST(Place, ShowsWhatIsKnown) {
  EXPECT_EQ(Place{}.text(), "");
  EXPECT_EQ((Place{"a.yaml", 0, 0, -1}.text()), "a.yaml");
  EXPECT_EQ((Place{"a.yaml", 7, 0, -1}.text()), "a.yaml:7");
  EXPECT_EQ((Place{"a.yaml", 7, 3, -1}.text()), "a.yaml:7:3");
  EXPECT_EQ((Place{"m.gguf", 0, 0, 0}.text()), "m.gguf (byte 0)");
}

TEST(Error, CarriesNameCodePlaceAndMessage) {
  const FormatError error("it is cut short", "m.gguf", 12);
  EXPECT_STREQ(error.what(), "m.gguf (byte 12): it is cut short");
  EXPECT_EQ(error.message(), "it is cut short");
  EXPECT_STREQ(error.name(), "FormatError");
  EXPECT_EQ(error.place().byte_offset, 12);
}

TEST(Error, ExitCodesAreTheContract) {
  EXPECT_EQ(static_cast<int>(ConfigError("").exit_code()), 2);
  EXPECT_EQ(static_cast<int>(DataError("").exit_code()), 3);
  EXPECT_EQ(static_cast<int>(IoError("", "").exit_code()), 1);
  EXPECT_EQ(static_cast<int>(FormatError("", "").exit_code()), 5);
  EXPECT_EQ(static_cast<int>(OutOfMemoryError("").exit_code()), 4);
  EXPECT_EQ(static_cast<int>(RunError("").exit_code()), 1);
  EXPECT_EQ(static_cast<int>(CudaError("").exit_code()), 1);
  EXPECT_EQ(static_cast<int>(Interrupted("").exit_code()), 75);
}

TEST(IoError, AddsTheSystemsReason) {
  EXPECT_STREQ(IoError("cannot open", "a", ENOENT).what(), "a: cannot open: No such file or directory");
  EXPECT_STREQ(IoError("cannot open", "a").what(), "a: cannot open");
}

}  // namespace
}  // namespace nibble
