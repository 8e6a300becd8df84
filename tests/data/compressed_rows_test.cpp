// gzip and zstd: read as if they were not there; what is damaged is an error with the byte offset and the line reached.
//
// Units: data/gzip_source data/zstd_source
#include <gtest/gtest.h>

#include "data/json_row.h"
#include "tests/data/compressed.h"
#include "tests/data/row_fixtures.h"

namespace nibble::data {
namespace {

class CompressedRows : public TemporaryFile {
 protected:
  void SetUp() override {
    TemporaryFile::SetUp();
    for (int i = 0; i < 300; ++i) text_ += "{\"text\": \"row " + std::to_string(i * i * 7919) + "\"}\n";
    plain_ = all_rows(write(text_));
  }
  std::string text_;
  std::vector<std::pair<int64_t, std::string>> plain_;
};

TEST_F(CompressedRows, GiveTheRowsOfThePlainFile) {
  for (const std::string& bytes : {gzipped(text_), zstandard(text_)}) {
    for (const size_t block_bytes : {1, 100, 1 << 20}) EXPECT_EQ(all_rows(write(bytes), block_bytes), plain_);
  }
  EXPECT_EQ(all_rows(write(gzipped("[" + std::string(100000, ' ') + "{}]"))).size(), 1u);
}

TEST_F(CompressedRows, MembersAndFramesFollowEachOther) {
  const size_t half = text_.size() / 2;  // in the middle of a row
  const std::string first = text_.substr(0, half), second = text_.substr(half);
  EXPECT_EQ(all_rows(write(gzipped(first) + gzipped("") + gzipped(second))), plain_);
  EXPECT_EQ(all_rows(write(zstandard(first) + zstandard("") + zstandard(second))), plain_);
  // Padding behind gzip data, and a skippable frame in front of zstd data.
  EXPECT_EQ(all_rows(write(gzipped(text_) + std::string(1000, '\0'))), plain_);
  EXPECT_EQ(all_rows(write(std::string("\x5A\x2A\x4D\x18\x03\x00\x00\x00" "abc", 11) + zstandard(text_))), plain_);
}

TEST_F(CompressedRows, DamageNamesByteAndLine) {
  std::string gzip = gzipped(text_);
  std::string said = refusal_of([&] { all_rows(write(gzip.substr(0, gzip.size() - 4))); });
  EXPECT_NE(said.find("rows.jsonl:301: the gzip data ends early: the file is cut off (byte " + std::to_string(gzip.size() - 4) + " of the file, line 301"),
            std::string::npos) << said;
  gzip[gzip.size() - 6] ^= 1;  // of the CRC
  said = refusal_of([&] { all_rows(write(gzip)); });
  EXPECT_NE(said.find("the gzip data is damaged (incorrect data check)"), std::string::npos) << said;
  said = refusal_of([&] { all_rows(write(gzipped(text_) + "{}")); });
  EXPECT_NE(said.find("is followed by bytes that are no gzip data"), std::string::npos) << said;
  std::string zstd = zstandard(text_);
  said = refusal_of([&] { all_rows(write(zstd.substr(0, zstd.size() - 1))); });
  EXPECT_NE(said.find("the zstd data ends early"), std::string::npos) << said;
  zstd.back() ^= 1;
  said = refusal_of([&] { all_rows(write(zstd)); });
  EXPECT_NE(said.find("the zstd data is damaged"), std::string::npos) << said;
  said = refusal_of([&] { all_rows(write(zstandard(text_) + "{}")); });
  EXPECT_NE(said.find("is followed by bytes that are no zstd data"), std::string::npos) << said;
}

TEST_F(CompressedRows, WhatLiesInsideMustBeText) {
  for (const std::string& bytes : {gzipped(gzipped(text_)), zstandard(gzipped(text_)), gzipped("PAR1xxxx")}) {
    EXPECT_NE(refusal_of([&] { all_rows(write(bytes)); }).find("compressed once more"), std::string::npos);
  }
  EXPECT_NE(refusal_of([&] { all_rows(write(gzipped(""))); }).find("the file is empty"), std::string::npos);
}

TEST_F(CompressedRows, AWindowThatWouldTakeTheMemoryIsRefused) {
  const std::string bytes = zstandard(text_, 28);
  const std::string said = refusal_of([&] { all_rows(write(bytes)); });
  EXPECT_NE(said.find("needs a window above 128 MiB"), std::string::npos) << said;
  EXPECT_EQ(all_rows(write(zstandard(text_, 20))), plain_);
}

// 64 MiB of blank lines in 64 KiB: only a block of them is ever there.
TEST_F(CompressedRows, ABombOfBlankLinesTakesNoMemory) {
  const std::string bytes = gzipped(std::string(size_t{64} << 20, '\n') + "{}\n");
  RowStream stream(write(bytes));
  RowBlock block;
  ASSERT_TRUE(stream.next(block));
  EXPECT_EQ(block.rows.at(0).line, (int64_t{64} << 20) + 1);
  EXPECT_LT(block.text.capacity(), size_t{4} << 20);
}

// Every cut and every changed byte: the same rows or an error, never a crash or other rows. Without its first bytes a file is
// text, and an error as that.
TEST_F(CompressedRows, DamagedFilesGiveTheirRowsOrAnError) {
  const auto parsed = [](const std::filesystem::path& path) {
    auto rows = all_rows(path);
    const std::string name = path.string();
    for (const auto& [line, row] : rows) parse_row({row, line}, {name, line});
    return rows;
  };
  const std::string text = "{\"text\": \"one\"}\n{\"text\": \"two two two two\"}\n";
  const auto whole = all_rows(write(text));
  for (const std::string& good : {gzipped(text), zstandard(text)}) {
    int refused = 0;
    for (size_t size = 0; size < good.size(); ++size) refused += !refusal_of([&] { parsed(write(good.substr(0, size))); }).empty();
    EXPECT_EQ(refused, static_cast<int>(good.size()));
    for (size_t at = 0; at < good.size(); ++at) {
      std::string damaged = good;
      damaged[at] = static_cast<char>(damaged[at] ^ 0x41);
      try {
        EXPECT_EQ(parsed(write(damaged)), whole) << at;
      } catch (const Error&) {
      }
    }
  }
}

}  // namespace
}  // namespace nibble::data
