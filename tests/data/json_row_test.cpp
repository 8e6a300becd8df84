// Strict parsing of a row: what is refused, where, and that no object can make it slow.
#include "data/json_row.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tests/data/row_fixtures.h"

namespace nibble::data {
namespace {

Json parse_text(const std::string& text, bool counts_rows = false) {
  const std::string file = "rows.jsonl";
  return parse_row({text, 3}, {file, 3, counts_rows});
}
std::string refused(const std::string& text) { return refusal_of([&] { parse_text(text); }); }

TEST(JsonRow, KeepsTheOrderOfKeysAndEveryValue) {
  EXPECT_EQ(parse_text(R"({"z": 1, "a": [true, null, -2.5, "\u0000\ud83d\ude00"], "m": {"y": {}, "b": 18446744073709551615}})").dump(),
            "{\"z\":1,\"a\":[true,null,-2.5,\"\\u0000\xF0\x9F\x98\x80\"],\"m\":{\"y\":{},\"b\":18446744073709551615}}");
}

TEST(JsonRow, RefusesWhatIsNoStrictJson) {
  for (const char* text : {"", "{", "{\"a\"}", "{'a': 1}", "{\"a\": 01}", "{\"a\": NaN}", "{\"a\": 1,}", "{\"a\": 1} {}", "[1]", "5", "null", "{\"a\": \"\t\"}",
                           "{\"a\": 1 /* c */}", "{\"a\": \"\\ud800\"}", "{\"a\": \"\xFF\"}", "{\"a\": 1e999}", "{\"a\": \"\\x\"}", "\xEF\xBB\xBF{}x"}) {
    EXPECT_TRUE(refused(text).starts_with("rows.jsonl:3: ")) << text << ": " << refused(text);
  }
}

TEST(JsonRow, DepthIsBounded) {
  const auto nested = [](size_t depth) { return "{\"a\": " + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}"; };
  EXPECT_EQ(refused(nested(64)), "");
  EXPECT_EQ(refused(nested(65)), "rows.jsonl:3: a: nested too deeply (more than 64 levels)");
  EXPECT_EQ(refused("{\"a\": " + std::string(1000000, '[')), "rows.jsonl:3: a: nested too deeply (more than 64 levels)");
}

TEST(JsonRow, AKeyGivenTwiceIsFoundAmongFewAndMany) {
  EXPECT_TRUE(refused(R"({"a": 1, "b": 2, "a": 3})").starts_with("rows.jsonl:3: a: the key 'a' is given twice"));
  EXPECT_TRUE(refused(R"({"a": {"c": 1, "c": 3}})").starts_with("rows.jsonl:3: a: the key 'c' is given twice"));
  std::string many = "{\"a\": {";
  for (int i = 0; i < 100; ++i) many += "\"k" + std::to_string(i) + "\": 1, ";
  EXPECT_EQ(refused(many + "\"k100\": 1}}"), "");
  EXPECT_TRUE(refused(many + "\"k7\": 1}}").starts_with("rows.jsonl:3: a: the key 'k7' is given twice"));
  EXPECT_EQ(refused(R"({"a": {"c": 1}, "b": {"c": 1}})"), "");
}

TEST(JsonRow, AnObjectOfManyKeysIsReadInLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 200000; ++i) text += (i == 0 ? "\"" : ", \"") + std::to_string(i) + "\": 0";
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(parse_text(text + "}").size(), 200000u);
  // Comparing each key with all before takes minutes.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

TEST(JsonRow, ARowOfAParquetFileIsCalledARow) {
  EXPECT_EQ(refusal_of([] { parse_text("[]", true); }), "rows.jsonl:3: must be a JSON object, found a list (row 3 of the Parquet file)");
}

TEST(JsonRow, MessagesStayShortAndValid) {
  const std::string said = refused("{\"a\": " + std::string(1 << 20, 'x'));
  EXPECT_LT(said.size(), 600u);
}

}  // namespace
}  // namespace nibble::data
