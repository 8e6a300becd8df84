// Parquet files of pyarrow as rows; in a build without Arrow, the message that tells how to convert them.
//
// Units: data/arrow_json
#include "data/parquet_rows.h"

#include <gtest/gtest.h>

#include "tests/data/fixtures.h"
#include "tests/data/row_reading.h"

namespace nibble::data {
namespace {

std::filesystem::path parquet(const std::string& name) { return golden_path("parquet/" + name); }

class ParquetRowsTest : public TemporaryFile {
 protected:
  // Whether there is something to test; without Arrow every file is refused with the conversion.
  static bool built() {
    if (reads_parquet()) return true;
    const std::string said = refusal_of([] { all_rows(parquet("alpaca.parquet")); });
    EXPECT_NE(said.find("alpaca.parquet: is a Parquet file, which this build does not read; convert it to JSON lines: python3 -c"), std::string::npos) << said;
    return false;
  }
};

TEST_F(ParquetRowsTest, RowsAreThoseThatWereWritten) {
  if (!built()) return;
  const nlohmann::json files = read_golden_json("parquet/expected.json");
  for (const auto& [name, rows] : files.items()) {
    for (const size_t block_bytes : {1, 100, 1 << 20}) {
      SCOPED_TRACE(name);
      const auto found = all_rows(parquet(name), block_bytes);
      ASSERT_EQ(found.size(), rows.size());
      for (size_t i = 0; i < found.size(); ++i) {
        EXPECT_EQ(found[i].first, static_cast<int64_t>(i) + 1);
        EXPECT_EQ(nlohmann::json::parse(found[i].second), rows[i]) << found[i].second;
      }
    }
  }
}

TEST_F(ParquetRowsTest, ColumnsKeepTheirOrder) {
  if (!built()) return;
  const std::string row = all_rows(parquet("types.parquet")).at(0).second;
  EXPECT_TRUE(row.starts_with("{\"int8\": -128, \"int16\": -32768, ")) << row;
  EXPECT_NE(row.find("\"struct\": {\"b\": \"x\", \"a\": 1}, \"map\": {\"k\": 1, \"l\": 2}}"), std::string::npos) << row;
}

TEST_F(ParquetRowsTest, MessagesAreReadAsSuch) {
  if (!built()) return;
  const auto rows = all_rows(parquet("messages.parquet"));
  const auto row = read_as<MessagesRow>(rows.back().second);
  ASSERT_EQ(row.conversation.messages.size(), 4u);
  // What a struct must have and this message has not comes as null, and is nothing.
  EXPECT_TRUE(row.conversation.messages[0].fields.empty());
  EXPECT_EQ(row.conversation.messages[1].fields.dump(), R"({"tool_calls":[{"id":"c1","function":{"name":"f","arguments":{"a":1}}}]})");
}

TEST_F(ParquetRowsTest, ErrorsNameTheRow) {
  if (!built()) return;
  RowStream stream(parquet("alpaca.parquet"));
  EXPECT_TRUE(stream.counts_rows());
  RowBlock block;
  ASSERT_TRUE(stream.next(block));
  const RowPlace place{stream.path(), block.rows.at(3).line, stream.counts_rows()};
  const Json first = parse_row(block.rows[0], place);
  const std::string said = refusal_of([&] { read_row(choose_shape(DatasetFormat::kAuto, {}, first, place), parse_row(block.rows[3], place), place, 10); });
  EXPECT_TRUE(said.ends_with("alpaca.parquet:4: output: must be a string, found null (row 4 of the Parquet file)")) << said;
}

TEST_F(ParquetRowsTest, FilesWithoutUsableRowsAreRefused) {
  if (!built()) return;
  EXPECT_NE(refusal_of([] { all_rows(parquet("binary_only.parquet")); }).find("has no column that a row can be made of: image (binary)"), std::string::npos);
  EXPECT_NE(refusal_of([] { all_rows(parquet("no_rows.parquet")); }).find("the file holds no examples"), std::string::npos);
}

// Cuts and changed bytes: rows or an error, never a crash.
TEST_F(ParquetRowsTest, DamagedFilesNeverCrash) {
  if (!built()) return;
  const std::string good = read_golden("parquet/messages_gzip.parquet");
  int refused = 0, tried = 0;
  for (size_t size = 4; size < good.size(); size += 13, ++tried) refused += !refusal_of([&] { all_rows(write(good.substr(0, size))); }).empty();
  EXPECT_EQ(refused, tried);
  for (size_t at = 4; at < good.size(); at += 5) {
    std::string damaged = good;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    refused += !refusal_of([&] { all_rows(write(damaged)); }).empty();
  }
  EXPECT_GT(refused, tried);
}

TEST_F(ParquetRowsTest, ALongRowIsRefused) {
  if (!built()) return;
  const std::string said = refusal_of([] { all_rows(parquet("messages.parquet"), 100, 200); });
  EXPECT_NE(said.find("messages.parquet:11: a row of more than 200 bytes"), std::string::npos) << said;
}

}  // namespace
}  // namespace nibble::data
