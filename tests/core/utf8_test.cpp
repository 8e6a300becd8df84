#include "core/utf8.h"

#include <gtest/gtest.h>

namespace nibble {
namespace {

TEST(Utf8, RoundTripsEveryScalarValue) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c == 0xD800) c = 0xE000;  // surrogates are no characters
    std::string text;
    append_utf8(text, c);
    const CodePoint read = decode_utf8(text, 0);
    ASSERT_TRUE(read.valid) << static_cast<uint32_t>(c);
    ASSERT_EQ(read.value, c);
    ASSERT_EQ(static_cast<size_t>(read.length), text.size());
    ASSERT_FALSE(first_invalid_utf8(text)) << static_cast<uint32_t>(c);
  }
}

TEST(Utf8, RefusesOverlongFormsSurrogatesAndValuesBeyondUnicode) {
  for (const char* text : {"\xC0\xAF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xFF", "\x80"}) {
    EXPECT_EQ(first_invalid_utf8(std::string("ab") + text), 2u) << testing::PrintToString(std::string(text));
  }
}

TEST(Utf8, FindsTheFirstIllFormedByteBehindAsciiWords) {
  EXPECT_EQ(first_invalid_utf8("eight ok, and then \xE2\x82"), 19u);
  EXPECT_FALSE(first_invalid_utf8("eight ok, and then \xE2\x82\xAC"));
}

// The example of the Unicode standard, table 3-8.
TEST(Utf8, ReplacesEachMaximalSubpartOnce) {
  EXPECT_EQ(repair_utf8("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" "b\xEF\xBF\xBD" "c\xEF\xBF\xBD\xEF\xBF\xBD" "d");
}

TEST(Utf8, KnowsTheWhiteSpaceOfUnicode) {
  int count = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) count += is_white_space(c);
  EXPECT_EQ(count, 25);  // Unicode 15, PropList.txt
  EXPECT_FALSE(is_white_space(0x200B));  // zero width space is none
}

}  // namespace
}  // namespace nibble
