// The grammar of values: what YAML readers guess at, we refuse.
#include "schema/scalar.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace nibble::schema {
namespace {

TEST(ParseBool, KnowsTrueAndFalseOnly) {
  EXPECT_EQ(parse_bool("true"), true);
  EXPECT_EQ(parse_bool("false"), false);
  for (const char* text : {"", "yes", "no", "on", "ON", "off", "True", "TRUE", "False", "y", "n", "1", "0", " true", "true "}) {
    EXPECT_EQ(parse_bool(text), std::nullopt) << text;
  }
}

TEST(ParseInteger, TakesPlainDigits) {
  EXPECT_EQ(parse_integer("0"), 0);
  EXPECT_EQ(parse_integer("-1"), -1);
  EXPECT_EQ(parse_integer("1024"), 1024);
  EXPECT_EQ(parse_integer("9223372036854775807"), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(parse_integer("-9223372036854775808"), std::numeric_limits<int64_t>::min());
}

TEST(ParseInteger, RefusesWhatOthersGuessAt) {
  for (const char* text : {"", "010", "-010", "00", "0x1F", "0o17", "0b1", "1e3", "1.0", "1.", "1_000", "1,000", "+5", "--5", "-", " 5", "5 ", "5k",
                           "9223372036854775808", "-9223372036854775809", "99999999999999999999999999", "inf", "nan", "true"}) {
    EXPECT_EQ(parse_integer(text), std::nullopt) << text;
  }
}

TEST(ParseNumber, TakesDecimalsAndExponents) {
  EXPECT_EQ(parse_number("1e3"), 1000.0);
  EXPECT_EQ(parse_number("2e-4"), 2e-4);
  EXPECT_EQ(parse_number("2E+4"), 2e4);
  EXPECT_EQ(parse_number(".5"), 0.5);
  EXPECT_EQ(parse_number("-.5"), -0.5);
  EXPECT_EQ(parse_number("1."), 1.0);
  EXPECT_EQ(parse_number("0.03"), 0.03);
  EXPECT_EQ(parse_number("32"), 32.0);
}

TEST(ParseNumber, RefusesWhatIsNotFiniteOrNotANumber) {
  for (const char* text : {"", ".", "-", "e5", ".e5", "1e", "1e+", "1e5.0", "01.5", "0x1p3", "1_0", "+1", "1.2.3", "inf", "-inf", ".inf", "nan", ".nan",
                           "NaN", "1e400", "-1e400", " 1", "1 ", "1e 5", "1f", "1,5", "true"}) {
    EXPECT_EQ(parse_number(text), std::nullopt) << text;
  }
}

TEST(NumberText, ReadsBackAsTheSameValue) {
  for (const double value : {0.0, 1.0, -1.0, 0.1, 2e-4, 1e-8, 1e-30, 1.0 / 3.0, 0.999999, 1e300, 5e-324, 9007199254740991.0}) {
    const std::string text = number_text(value);
    ASSERT_TRUE(parse_number(text).has_value()) << text;
    EXPECT_EQ(*parse_number(text), value) << text;
  }
}

TEST(StringText, IsPlainForNamesAndPathsOnly) {
  EXPECT_EQ(string_text("all-linear"), "all-linear");
  EXPECT_EQ(string_text("/data/my set/a.jsonl"), "/data/my set/a.jsonl");
  EXPECT_EQ(string_text("org/name"), "org/name");
  for (const char* text : {"", "5", "1e3", ".5", "true", "null", "Null", "NULL", "~", "-", "- a", "a: b", "a #b", "[a]", "*a", "&a", "!a", "%a", "@a", "'a'",
                           " a", "a ", "a\nb", "\t", "a,b", "{", "é"}) {
    EXPECT_EQ(string_text(text).front(), '"') << text;
  }
  EXPECT_EQ(string_text("a\"b\\c"), R"("a\"b\\c")");
  EXPECT_EQ(string_text("a\nb\x01"), R"("a\x0Ab\x01")");
}

}  // namespace
}  // namespace nibble::schema
