// What YAML allows and a configuration does not: each is refused at its place, once, and never crashes the reader.
#include "schema/yaml.h"

#include <gtest/gtest.h>

#include "tests/schema/fixtures.h"

namespace nibble::schema {
namespace {

struct Read {
  std::vector<YamlEntry> entries;
  std::vector<Finding> findings;

  std::string said() const {
    std::string text;
    for (const Finding& f : findings) text += f.text() + "\n";
    return text;
  }
};

Read read(const std::string& text) {
  Read r;
  r.entries = read_yaml(text, "f", r.findings);
  return r;
}

TEST(ReadYaml, KeepsTextQuotesAndPlaces) {
  const Read r = read("# a comment\nlora_r: 010\nseed: \"5\"\ntrain_file: [a, 'b c']\nvalidation_file:\n  - d\n  - e\n");
  ASSERT_EQ(r.said(), "");
  ASSERT_EQ(r.entries.size(), 4u);
  EXPECT_EQ(r.entries[0].key.text, "lora_r");
  EXPECT_EQ(r.entries[0].key.line, 2);
  EXPECT_EQ(r.entries[0].key.column, 1);
  EXPECT_EQ(r.entries[0].values[0].text, "010");
  EXPECT_EQ(r.entries[0].values[0].column, 9);
  EXPECT_FALSE(r.entries[0].values[0].quoted);
  EXPECT_TRUE(r.entries[1].values[0].quoted);
  EXPECT_TRUE(r.entries[2].is_list);
  EXPECT_EQ(r.entries[2].values[1].text, "b c");
  ASSERT_EQ(r.entries[3].values.size(), 2u);
  EXPECT_EQ(r.entries[3].values[1].line, 7);
  EXPECT_EQ(r.entries[3].values[1].column, 5);
}

TEST(ReadYaml, TakesWindowsLineEndsABlockTextAndAFlowMapping) {
  EXPECT_EQ(read("a: 1\r\nb: 2\r\n").entries.size(), 2u);
  EXPECT_EQ(read("{a: 1, b: 2}").entries.size(), 2u);
  const Read block = read("a: |\n  text\nb: 1\n");
  ASSERT_EQ(block.said(), "");
  EXPECT_EQ(block.entries[0].values[0].text, "text\n");
  EXPECT_TRUE(block.entries[0].values[0].quoted);
}

TEST(ReadYaml, ReadsAnEmptyFileAsNoEntries) {
  for (const char* text : {"", "\n", "# only a comment\n", "---\n", "{}"}) {
    const Read r = read(text);
    EXPECT_EQ(r.said(), "") << text;
    EXPECT_TRUE(r.entries.empty()) << text;
  }
}

TEST(ReadYaml, RefusesADuplicateAndKeepsTheFirst) {
  const Read r = read("a: 1\nb: 2\na: 3\n");
  EXPECT_EQ(r.said(), "f:3:1: error: key 'a' is already set in line 1; keep one of them\n");
  ASSERT_EQ(r.entries.size(), 2u);
  EXPECT_EQ(r.entries[0].values[0].text, "1");
}

TEST(ReadYaml, SaysOneThingAboutEachFormThatIsNotFlat) {
  const struct {
    const char* text;
    const char* said;
  } cases[] = {
      {"a: {b: 1}\nz: 1\n", "f:1:4: error: keys are flat: a mapping is not a value of any key\n"},
      {"a:\n  b: 1\n  c: [1, 2]\nz: 1\n", "f:2:3: error: keys are flat: a mapping is not a value of any key\n"},
      {"a: [1, [2]]\nz: 1\n", "f:1:8: error: a list in a list or mapping is not a value of any key\n"},
      {"a: [{b: 1}, {c: 2}]\nz: 1\n", "f:1:5: error: keys are flat: a mapping is not a value of any key\n"},
      {"? [a, b]\n: 1\nz: 1\n", "f:1:3: error: a key must be a name\n"},
      {"? {a: b}\n: [1, 2]\nz: 1\n", "f:1:3: error: a key must be a name\n"},
      {"a: !!int 5\nz: 1\n", "f:1:4: error: tags (tag:yaml.org,2002:int) are not supported; write the plain value\n"},
      {"a: !mine [1]\nz: 1\n", "f:1:4: error: tags (!mine) are not supported; write the plain value\n"},
  };
  for (const auto& c : cases) {
    const Read r = read(c.text);
    EXPECT_EQ(r.said(), c.said) << c.text;
    ASSERT_EQ(r.entries.size(), 1u) << c.text;
    EXPECT_EQ(r.entries[0].key.text, "z") << c.text;
  }
}

TEST(ReadYaml, RefusesAnchorsAndAliasesWhereverTheyStand) {
  const Read scalar = read("a: &x 1\nb: *x\nz: 1\n");
  EXPECT_TRUE(contains(scalar.said(), "f:1:4: error: anchors (&name) are not supported")) << scalar.said();
  EXPECT_TRUE(contains(scalar.said(), "f:2:4: error: aliases (*name) are not supported")) << scalar.said();
  EXPECT_EQ(scalar.findings.size(), 2u);
  EXPECT_EQ(scalar.entries.size(), 1u);
  EXPECT_EQ(read("a: &x [1, 2]\n").findings.size(), 1u);
  EXPECT_EQ(read("a: [&x 1, *x]\n").findings.size(), 2u);
  EXPECT_EQ(read("&x a: 1\n*x : 2\n").findings.size(), 2u);
  const Read merge = read("a: &x {b: 1}\n<<: *x\n");
  EXPECT_TRUE(contains(merge.said(), "aliases (*name)")) << merge.said();
  EXPECT_FALSE(contains(merge.said(), "'<<'")) << merge.said();
}

TEST(ReadYaml, RefusesAnotherTopThanAMapping) {
  EXPECT_EQ(read("- a\n- b\n").said(), "f:1:1: error: the file is a list; it must be a mapping of keys to values\n");
  EXPECT_EQ(read("[a, {b: 1}, [c]]").said(), "f:1:1: error: the file is a list; it must be a mapping of keys to values\n");
  EXPECT_EQ(read("hello\n").said(), "f:1:1: error: the file is a single value; it must be a mapping of keys to values\n");
  EXPECT_TRUE(read("- a\n").entries.empty());
}

TEST(ReadYaml, RefusesASecondDocument) {
  const Read r = read("a: 1\n---\nb: [[1]]\n");
  EXPECT_EQ(r.said(), "f: error: the file has more than one document (---); keep one\n");
  EXPECT_EQ(read("---\na: 1\n...\n").said(), "");
}

TEST(ReadYaml, RefusesWhatIsNoText) {
  EXPECT_EQ(read(std::string("a: 1\n\0b: 2\n", 11)).said(), "f: error: a NUL byte at byte 5: not a text file\n");
  const std::string large((1 << 20) + 1, '#');
  EXPECT_EQ(read(large).said(), "f: error: the file has 1048577 bytes; a configuration has at most 1048576\n");
  EXPECT_EQ(read(large.substr(1)).said(), "");
}

TEST(ReadYaml, SaysWhereTheSyntaxBreaks) {
  for (const char* text : {"a: 1\nb: [1, 2\n", "a: 1\nb: \"open\n", "a: 1\n\tb: 2\n", "a: 1\nb: c: d\n", "a: 1\n}\n"}) {
    const Read r = read(text);
    ASSERT_GE(r.findings.size(), 1u) << text;
    EXPECT_TRUE(contains(r.said(), "not valid YAML: ")) << r.said();
    EXPECT_GE(r.findings.back().line, 2) << r.said();
    EXPECT_GE(r.findings.back().column, 1) << r.said();
  }
}

TEST(ReadYaml, RefusesAQuoteThatTheEndOfTheFileCloses) {
  for (const char* text : {"a: \"open\nb: 1\n", "a: 'it''s\nb: 1\n", "a: \"x\\\"\n", "a: [1, \"open\n", "\"open: 1\n"}) {
    const Read r = read(text);
    EXPECT_TRUE(contains(r.said(), "f:1:")) << text << r.said();
    EXPECT_TRUE(contains(r.said(), "not valid YAML")) << text << r.said();
    EXPECT_TRUE(r.entries.empty() || r.entries[0].is_list) << text;
  }
  for (const char* text : {"a: \"x\\\"y\"\n", "a: 'it''s'\n", "a: ''\n", "a: \"\"\n", "'a': \"b\n c\"\n", "{\"a\": 'b'}\n"}) EXPECT_EQ(read(text).said(), "") << text;
}

TEST(ReadYaml, RefusesBytesThatAreNotUtf8AndTakesAByteOrderMark) {
  for (const char* bad : {"\xFF", "\xC0\x80", "\xE9", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\xF0\x8F\xBF\xBF", "\x80"}) {
    EXPECT_EQ(read("a: " + std::string(bad)).said(), "f: error: byte 3 is not UTF-8; save the file in that encoding\n");
  }
  const Read good = read("\xEF\xBB\xBF" "a: \"é€😀\" # ü\n");
  ASSERT_EQ(good.said(), "");
  EXPECT_EQ(good.entries[0].key.text, "a");
  EXPECT_EQ(good.entries[0].key.column, 1);
  EXPECT_EQ(good.entries[0].values[0].text, "é€😀");
}

TEST(ReadYaml, StopsAtDeepNestingOfEveryForm) {
  const auto repeated = [](const char* part, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += part;
    return text;
  };
  std::string stairs;
  for (int i = 0; i < 1200; ++i) stairs += std::string(i, ' ') + "a:\n";
  for (const std::string& text : {"a: " + repeated("[", 300'000), "a: " + repeated("{", 300'000), "a: " + repeated("[", 65),
                                  repeated("- ", 300'000), repeated("? ", 300'000), "a: " + repeated("[{a: ", 1000), stairs}) {
    EXPECT_GE(read(text).findings.size(), 1u) << text.substr(0, 20);
  }
}

TEST(ReadYaml, SurvivesTheEndOfFileAtEveryByte) {
  const std::string whole = "a: 'x'\nb: [1, \"2\", {c: d}]\n? [e]\n: &f 1\ng: *f\nh: !!int 3\ni: |\n  j\n---\nk: l\n";
  for (size_t size = 0; size <= whole.size(); ++size) {
    const Read r = read(whole.substr(0, size));
    EXPECT_LE(r.entries.size(), 10u);
  }
}

}  // namespace
}  // namespace nibble::schema
