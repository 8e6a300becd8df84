#include "schema/byte_size.h"

#include <gtest/gtest.h>

namespace nibble::schema {
namespace {

int64_t bytes(const char* text) { return parse_byte_size(text).value_or(ByteSize{-1}).bytes; }

TEST(ByteSize, ReadsUnitsOfBothKindsAndGibWithoutOne) {
  EXPECT_EQ(bytes("auto"), 0);
  EXPECT_EQ(bytes("6"), int64_t{6} << 30);
  EXPECT_EQ(bytes("5.5"), (int64_t{11} << 30) / 2);
  EXPECT_EQ(bytes("6GiB"), int64_t{6} << 30);
  EXPECT_EQ(bytes("6 GiB"), int64_t{6} << 30);
  EXPECT_EQ(bytes("6GB"), 6'000'000'000);
  EXPECT_EQ(bytes("800MiB"), int64_t{800} << 20);
  EXPECT_EQ(bytes("2e3MB"), 2'000'000'000);
  EXPECT_EQ(bytes("1TiB"), int64_t{1} << 40);
  EXPECT_EQ(bytes("4096B"), 4096);
}

TEST(ByteSize, RefusesWhatIsNoAmount) {
  for (const char* text : {"", "GiB", "-1GiB", "0", "0MiB", "six", "6G", "6gib", "1e30", "nan", "inf", "6GiBB", "0x10", "1,5GiB"}) {
    EXPECT_FALSE(parse_byte_size(text)) << text;
  }
}

TEST(ByteSize, TextReadsBackAsTheSameBytes) {
  for (const int64_t n : {int64_t{0}, int64_t{1}, int64_t{1023}, int64_t{1} << 20, (int64_t{11} << 30) / 2, int64_t{6'000'000'000}, int64_t{123456789},
                          int64_t{9007199254740991}}) {
    EXPECT_EQ(bytes(byte_size_text({n}).c_str()), n) << byte_size_text({n});
  }
  EXPECT_EQ(byte_size_text({(int64_t{11} << 30) / 2}), "5.5GiB");
  EXPECT_EQ(byte_size_text({6'000'000'000}), "6GB");
  EXPECT_EQ(byte_size_text({}), "auto");
}

}  // namespace
}  // namespace nibble::schema
