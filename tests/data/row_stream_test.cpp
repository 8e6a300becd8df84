// Rows of files in blocks: the same rows and lines whatever the blocks' size, and what is damaged said with its line.
//
// Units: data/row_splitter data/byte_source
#include "data/row_stream.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/data/row_fixtures.h"

namespace nibble::data {
namespace {

using RowList = std::vector<std::pair<int64_t, std::string>>;

class RowStreamTest : public TemporaryFile {
 protected:
  RowList rows(const std::string& text, size_t block_bytes = size_t{1} << 20) { return all_rows(write(text), block_bytes); }
  std::string refusal(const std::string& text, size_t block_bytes = size_t{1} << 20) {
    return refusal_of([&] { rows(text, block_bytes); });
  }
};

TEST_F(RowStreamTest, LinesAreCountedWhereTheyStand) {
  EXPECT_EQ(rows("{\"a\": 1}\n\n  {\"a\": 2}  \r\n\t\n{\"a\": 3}"), (RowList{{1, "{\"a\": 1}"}, {3, "{\"a\": 2}"}, {5, "{\"a\": 3}"}}));
  EXPECT_EQ(rows("\xEF\xBB\xBF\n\n{}\n{}\n"), (RowList{{3, "{}"}, {4, "{}"}}));
  EXPECT_EQ(rows("\n\n[\n{\"a\":\n1}\n,\n 2, \"x,]\\\"\" ]\n"), (RowList{{4, "{\"a\":\n1}"}, {7, "2"}, {7, "\"x,]\\\"\""}}));
}

TEST_F(RowStreamTest, BlocksOfAnySizeGiveTheSameRows) {
  std::string lines = "\xEF\xBB\xBF \n", array = " [";
  for (int i = 0; i < 40; ++i) {
    const std::string row = "{\"text\": \"" + std::string(static_cast<size_t>(i * 7 % 60), 'x') + "\\\\\\\" [,]{}\"}";
    lines += row + (i % 3 == 0 ? "\r\n\n" : "\n");
    array += (i == 0 ? "" : i % 4 == 0 ? "\n,\n" : ", ") + row;
  }
  array += "\n]\n\n";
  for (const std::string& text : {lines, array}) {
    const RowList whole = rows(text);
    ASSERT_EQ(whole.size(), 40u);
    for (const size_t block_bytes : {1, 2, 3, 7, 64, 100, 1000, 100000}) EXPECT_EQ(rows(text, block_bytes), whole) << block_bytes;
  }
}

TEST_F(RowStreamTest, BlocksHoldAboutAsMuchAsAskedForAndKnowTheirFirstRow) {
  std::string text;
  for (int i = 0; i < 10000; ++i) text += "{\"n\": " + std::to_string(i) + "}\n";
  RowStream stream(write(text), 4096);
  RowBlock block;
  int64_t seen = 0, blocks = 0;
  while (stream.next(block)) {
    EXPECT_EQ(block.first_row, seen);
    EXPECT_LE(block.text.size(), 4096u + 64);
    ASSERT_FALSE(block.rows.empty());
    EXPECT_EQ(block.rows[0].line, seen + 1);
    EXPECT_EQ(block.rows[0].text, "{\"n\": " + std::to_string(seen) + "}");
    seen += static_cast<int64_t>(block.rows.size());
    ++blocks;
  }
  EXPECT_EQ(seen, 10000);
  EXPECT_GT(blocks, 20);
  EXPECT_FALSE(stream.next(block));
}

// A short text would move with its string.
TEST_F(RowStreamTest, ViewsStayValidWhenABlockIsMoved) {
  RowStream stream(write("{\"a\": 1234}\n{}\n"), 1);
  std::vector<RowBlock> blocks;
  for (RowBlock block; stream.next(block);) blocks.push_back(std::move(block));
  ASSERT_EQ(blocks.size(), 2u);
  blocks.reserve(100);
  EXPECT_EQ(blocks[0].rows.at(0).text, "{\"a\": 1234}");
  EXPECT_EQ(blocks[1].rows.at(0).text, "{}");
  EXPECT_EQ(blocks[1].rows.at(0).text.data(), blocks[1].text.data());
}

TEST_F(RowStreamTest, ARowLongerThanTheLimitIsRefusedWithItsLine) {
  const std::string text = "{}\n{\"a\": \"" + std::string(5000, 'x') + "\"}\n";
  EXPECT_EQ(all_rows(write(text), 100, 6000).size(), 2u);
  const std::string said = refusal_of([&] { all_rows(write(text), 100, 4000); });
  EXPECT_NE(said.find("rows.jsonl:2: a row of more than"), std::string::npos) << said;
  const std::string array = refusal_of([&] { all_rows(write("[1,\n\n" + std::string(5000, '[') + "]"), 100, 4000); });
  EXPECT_NE(array.find("rows.jsonl:3: a row of more than"), std::string::npos) << array;
}

TEST_F(RowStreamTest, EmptyFilesAreErrors) {
  for (const char* text : {"", " \n\r\n\t", "\xEF\xBB\xBF", "\xEF\xBB\xBF\n"}) {
    for (const size_t block_bytes : {1, 1000}) EXPECT_NE(refusal(text, block_bytes).find("the file is empty"), std::string::npos);
  }
  EXPECT_NE(refusal("[]").find("the file holds no examples"), std::string::npos);
  EXPECT_NE(refusal(" [\n ] \n", 1).find("the file holds no examples"), std::string::npos);
}

TEST_F(RowStreamTest, DamagedArraysNameTheLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"[\n1,\n2\n\n", ":3: the JSON array ends early"}, {"[\n{\"a\": [}\n", ":2: the JSON array ends early"},
      {"[1,\n,2]", ":2: a value is missing"},            {"[1,\n2,\n]", ":3: a value is missing"},
      {"[,1]", ":1: a value is missing"},                {"[1]\n\n x", ":3: more text after"},
      {"[1][2]", ":1: more text after"},                 {"[\"a\n", ":1: the JSON array ends early"}};
  for (const auto& [text, said] : cases) {
    for (const size_t block_bytes : {1, 4, 1000}) {
      const std::string message = refusal(text, block_bytes);
      EXPECT_NE(message.find(said), std::string::npos) << text << ": " << message;
    }
  }
}

// The first thing wrong in a file is what the user hears of, so rows in front of the damage come out.
TEST_F(RowStreamTest, RowsInFrontOfDamageComeFirst) {
  RowStream stream(write("[1, 2,, 3]"));
  RowBlock block;
  ASSERT_TRUE(stream.next(block));
  EXPECT_EQ(block.rows.size(), 2u);
  EXPECT_THROW(stream.next(block), DataError);
}

TEST_F(RowStreamTest, WhatIsNoTextIsNamed) {
  using namespace std::string_literals;
  const std::pair<std::string, const char*> cases[] = {
      {"PK\x03\x04rest"s, "zip archive"}, {"\xFD" "7zXZ\0"s, "xz data"}, {"BZh9"s, "bzip2"},           {"\x04\x22\x4D\x18"s, "lz4"},
      {"\xFF\xFE{\0"s, "UTF-16"},         {"\xFE\xFF\0{"s, "UTF-16"},    {"ARROW1\0\0"s, "Arrow file"}, {"SQLite format 3\0"s, "SQLite"}};
  for (const auto& [bytes, said] : cases) EXPECT_NE(refusal(bytes).find(said), std::string::npos) << refusal(bytes);
}

TEST_F(RowStreamTest, PathsThatAreNoRegularFileAreErrors) {
  EXPECT_THROW(RowStream(path_ / "nowhere"), IoError);
  EXPECT_THROW(RowStream("/dev/null"), DataError);
  const std::string folder = refusal_of([&] { RowStream stream(path_.parent_path()); });
  EXPECT_NE(folder.find("is a directory"), std::string::npos);
}

}  // namespace
}  // namespace nibble::data
