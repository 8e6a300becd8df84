// Files of rows for tests of the readers.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "data/row_stream.h"

namespace nibble::data {

// Line and text of every row.
inline std::vector<std::pair<int64_t, std::string>> all_rows(const std::filesystem::path& path, size_t block_bytes = size_t{1} << 20,
                                                             int64_t max_row_bytes = kMaxRowBytes) {
  RowStream stream(path, block_bytes, max_row_bytes);
  std::vector<std::pair<int64_t, std::string>> rows;
  for (RowBlock block; stream.next(block);) {
    for (const Row& row : block.rows) rows.emplace_back(row.line, row.text);
  }
  return rows;
}

// The message of the error that `action` ends with, with its place; "" where it ends well.
template <class Action>
std::string refusal_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// A test with a file of its own.
class TemporaryFile : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(testing::TempDir()) / (std::string(test->test_suite_name()) + "_" + test->name());
    std::filesystem::create_directories(folder_);
    path_ = folder_ / "rows.jsonl";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  const std::filesystem::path& write(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary) << bytes;
    return path_;
  }
  std::filesystem::path folder_, path_;
};

}  // namespace nibble::data
