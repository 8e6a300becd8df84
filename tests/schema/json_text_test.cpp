#include "schema/json_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/damage.h"
#include "tests/support/temporary_folder.h"

namespace nibble::schema {
namespace {

using test::put_file;
using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;

template <typename Read>
std::string refusal(Read read) {
  try {
    read();
  } catch (const FormatError& error) {
    return error.what();
  }
  return "accepted";
}
std::string refusal_of(const std::string& text, int64_t offset = 0) {
  return refusal([&] { parse_json(text, "f", offset); });
}
std::string nested(const std::string& open, const std::string& close, int levels) {
  std::string text;
  for (int i = 0; i < levels; ++i) text += open;
  text += "1";
  for (int i = 0; i < levels; ++i) text += close;
  return text;
}

TEST(JsonText, ReadsWhatNlohmannReads) {
  const std::string text = R"({"a":[1,-2,3.5,"t\u00e9",true,null,[],{}],"b":{"c":{"d":[[1],[2,[3]]]}},"n":18446744073709551615})";
  EXPECT_EQ(parse_json(text, "f"), nlohmann::json::parse(text));
  EXPECT_EQ(parse_json("7", "f"), 7);
  const std::string unsorted = R"({"z":1,"a":{"y":2,"b":3}})";
  EXPECT_EQ(parse_ordered_json(unsorted, "f").dump(), unsorted);
}

TEST(JsonText, NamesThePlaceOfWhatIsNoJson) {
  EXPECT_THAT(refusal_of("{\"a\": nul}", 100), AllOf(HasSubstr("it is not JSON"), HasSubstr("f (byte 1")));
  EXPECT_THAT(refusal_of(""), HasSubstr("f (byte 0)"));
  EXPECT_THAT(refusal_of("[1e999]"), HasSubstr("it is not JSON"));
  EXPECT_THAT(refusal_of("[1] 2"), HasSubstr("it is not JSON"));
  EXPECT_THAT(refusal_of("\"\xFF\""), HasSubstr("it is not JSON"));
}

TEST(JsonText, RefusesANameGivenTwice) {
  EXPECT_THAT(refusal_of(R"({"a":{"b":1,"b":2}})"), HasSubstr("gives 'b' twice"));
  EXPECT_THAT(refusal_of(R"({"a":1,"\u0061":2})"), HasSubstr("gives 'a' twice"));
  EXPECT_EQ(refusal_of(R"({"a":{"b":1},"c":{"b":1}})"), "accepted");
  EXPECT_THAT(refusal([] { parse_ordered_json(R"({"a":1,"a":1})", "f"); }), HasSubstr("gives 'a' twice"));
}

TEST(JsonText, BoundsDepthBeforeItRecurses) {
  EXPECT_EQ(refusal_of(nested("[", "]", kJsonMaxDepth)), "accepted");
  EXPECT_THAT(refusal_of(nested("[", "]", kJsonMaxDepth + 1)), HasSubstr("nested deeper than 32"));
  EXPECT_EQ(refusal_of(nested("{\"a\":", "}", kJsonMaxDepth)), "accepted");
  EXPECT_THAT(refusal_of(nested("{\"a\":", "}", kJsonMaxDepth + 1)), HasSubstr("nested deeper than 32"));
  EXPECT_THAT(refusal_of(std::string(10'000'000, '[')), HasSubstr("nested deeper than 32"));
}

TEST(JsonText, BoundsMemoryAndTimeByLimits) {
  std::string zeros = "[0";
  for (int64_t i = 0; i < kJsonMaxValues; ++i) zeros += ",0";
  EXPECT_THAT(refusal_of(zeros + "]"), HasSubstr("more than 8388608 values"));
  std::string names = "{";
  for (int64_t i = 0; i <= kJsonMaxOrderedNames; ++i) names += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":0";
  EXPECT_EQ(refusal_of(names + "}"), "accepted");
  EXPECT_THAT(refusal([&] { parse_ordered_json(names + "}", "f"); }), HasSubstr("more than 4096 names"));
}

TEST(JsonText, ReadsFilesOfABoundedSizeThatHoldAnObject) {
  const TemporaryFolder folder;
  put_file(folder / "list", "[1]");
  put_file(folder / "object", R"({"a":1})");
  EXPECT_THAT(refusal([&] { read_json_object(folder / "list"); }), HasSubstr("one JSON object"));
  EXPECT_EQ(read_json_object(folder / "object").at("a"), 1);
  EXPECT_THAT(refusal([&] { read_json_object(folder / "object", 6); }), HasSubstr("it has 7 bytes, more than the 6"));
}

// What streams get, in the file's order, and the document without it.
TEST(JsonText, GivesStreamsTheirValuesAndKeepsTheRest) {
  using Kind = nlohmann::json::value_t;
  const TemporaryFolder folder;
  const auto read = [&](const std::string& text, Kind kind) {
    put_file(folder / "f", text);
    std::string got;
    const JsonStream streams[] = {{{"m", "v"}, kind, [&](std::string& name, nlohmann::json& value) { got += name + "=" + value.dump() + ";"; }}};
    const nlohmann::json rest = read_json_object(folder / "f", kJsonMaxFileBytes, streams);
    return got + " " + rest.dump();
  };
  EXPECT_EQ(read(R"({"a":{"v":{"x":1}},"m":{"b":[{"v":{"y":2}}],"v":{"z":{"v":{"w":[3]}},"a":null,"b":[[4],5]},"c":6},"v":{"t":7}})", Kind::object),
            R"(z={"v":{"w":[3]}};a=null;b=[[4],5]; {"a":{"v":{"x":1}},"m":{"b":[{"v":{"y":2}}],"c":6,"v":{}},"v":{"t":7}})");
  EXPECT_EQ(read(R"({"m":{"v":["a b",["c","d"],{"e":{"f":1}},[]],"w":[1]},"n":[1]})", Kind::array),
            R"(="a b";=["c","d"];={"e":{"f":1}};=[]; {"m":{"v":[],"w":[1]},"n":[1]})");
  EXPECT_EQ(read(R"({"m":{"v":["a"]}})", Kind::object), R"( {"m":{"v":["a"]}})");
  EXPECT_EQ(read(R"({"m":{"v":{}},"m/v":{"a":1}})", Kind::object), R"( {"m":{"v":{}},"m/v":{"a":1}})");
  EXPECT_EQ(read(R"({"m":[{"v":{"a":1}}]})", Kind::object), R"( {"m":[{"v":{"a":1}}]})");
  EXPECT_THAT(refusal([&] { read(R"({"m":{"v":{"a":1,)", Kind::object); }), HasSubstr("it is not JSON"));
  EXPECT_THAT(refusal([&] { read(R"({"m":{"v":{"a":{"b":1,"b":2}}}})", Kind::object); }), HasSubstr("gives 'b' twice"));
}

TEST(JsonText, ShortensWhatMessagesShow) {
  EXPECT_EQ(brief(nlohmann::json::parse("[1,2]")), "[1,2]");
  const std::string shown = brief(nlohmann::json(std::string(79, 'x') + "\u00e9\u00e9\u00e9"));
  EXPECT_EQ(shown, "\"" + std::string(79, 'x') + "...");
}

TEST(JsonText, SurvivesEveryDamage) {
  const auto count = test::try_damage(R"({"name":[12,{"b":"\u00e9\\x"},true],"c":-0.5e3})", [](const std::string& text) { parse_json(text, "f"); });
  EXPECT_EQ(count.accepted_cuts, 0);
  EXPECT_GT(count.refused, count.tried / 3);
}

}  // namespace
}  // namespace nibble::schema
