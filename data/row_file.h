// Data files cut into rows: JSON lines, or one JSON array. Rows are found without parsing them, so that threads can.
//
// A row is a view into the mapped file. Blank lines are skipped and counted, a byte order mark is skipped, \r\n ends a
// line as \n does. What is not text at all (a directory, gzip, zstd, Parquet, UTF-16) is named for what it is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "data/row_stream.h"

namespace nibble::data {

class RowFile {
 public:
  // THROWS DataError (with the line where one is to blame), IoError.
  explicit RowFile(const std::filesystem::path& path);

  const std::string& path() const { return path_; }
  const std::vector<Row>& rows() const { return rows_; }
  std::string hash() const;  // XXH3-128 of the bytes, 32 hex digits

 private:
  void split_lines(std::string_view text);
  void split_array(std::string_view text, int64_t line);

  std::string path_;
  MappedFile file_;
  std::vector<Row> rows_;
};

}  // namespace nibble::data
