// The broken files of tests/golden/data/bad as the reader itself sees them, plain, gzipped and zstd: verdict, line, field.
#include <gtest/gtest.h>

#include "tests/data/compressed.h"
#include "tests/data/fixtures.h"
#include "tests/data/row_reading.h"

namespace nibble::data {
namespace {

// Rows of a file, read to the last; throws what is wrong with the first bad one.
int64_t count_rows(const std::filesystem::path& path, size_t block_bytes) {
  RowStream stream(path, block_bytes);
  const std::string& name = stream.path();
  std::optional<RowShape> shape;
  int64_t rows = 0;
  for (RowBlock block; stream.next(block);) {
    for (const Row& row : block.rows) {
      const RowPlace place{name, row.line};
      const Json json = parse_row(row, place);
      if (!shape) shape = choose_shape(DatasetFormat::kAuto, {}, json, place);
      read_row(*shape, json, place, kTestVocab);
      ++rows;
    }
  }
  return rows;
}

class BadFiles : public TemporaryFile {
 protected:
  void expect_verdict(const std::filesystem::path& path, const nlohmann::json& expected, size_t block_bytes) {
    SCOPED_TRACE(path.string() + " in blocks of " + std::to_string(block_bytes));
    if (expected["verdict"] != "error" || expected["file"] == "gzip.jsonl") {
      EXPECT_GT(count_rows(path, block_bytes), 0);
      return;
    }
    try {
      count_rows(path, block_bytes);
      ADD_FAILURE() << "accepted";
    } catch (const DataError& error) {
      EXPECT_EQ(error.place().line, expected["line"].is_null() ? 0 : expected["line"].get<int64_t>()) << error.what();
      EXPECT_EQ(error.place().file, path.string());
      if (!expected["field"].is_null()) {
        EXPECT_TRUE(error.message().starts_with(expected["field"].get<std::string>() + ": ")) << error.what();
      }
    }
  }
};

TEST_F(BadFiles, GetTheStatedVerdictInBlocksOfAnySize) {
  const nlohmann::json files = read_golden_json("data/bad/expected.json")["files"];
  ASSERT_EQ(files.size(), 25u);
  for (const auto& expected : files) {
    const auto path = golden_path("data/bad/" + expected["file"].get<std::string>());
    for (const size_t block_bytes : {17, 1 << 20}) expect_verdict(path, expected, block_bytes);
  }
}

TEST_F(BadFiles, GetTheSameVerdictWhereTheyAreCompressed) {
  const nlohmann::json files = read_golden_json("data/bad/expected.json")["files"];
  for (const auto& expected : files) {
    const std::string name = expected["file"];
    if (name == "directory.jsonl" || name == "gzip.jsonl") continue;
    const std::string bytes = read_golden("data/bad/" + name);
    expect_verdict(write(gzipped(bytes)), expected, 1000);
    expect_verdict(write(zstandard(bytes)), expected, 1000);
  }
}

TEST_F(BadFiles, GzippedRowsAreRead) { EXPECT_GT(count_rows(golden_path("data/bad/gzip.jsonl"), 1000), 0); }

}  // namespace
}  // namespace nibble::data
