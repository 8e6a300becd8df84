// Data files as rows, a block of about 1 MiB at a time: JSON lines or one JSON array (plain, gzip, zstd), or Parquet.
//
// A file is never held as a whole: what a reader takes is one block and, where a single row is larger, that row. Blank
// lines are skipped and counted, a byte order mark is skipped, \r\n ends a line as \n does. A Parquet file's rows come as
// JSON objects, and its "lines" are row numbers from 1 (data/parquet_rows.h).
//
// The hash of a file's bytes, for caches, is file_xxh3_128 (core/file.h): it streams too.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::data {

// What a row may have at most. Longer ones are more likely a file that is not what it seems, and would fill the memory.
inline constexpr int64_t kMaxRowBytes = int64_t{256} << 20;

struct Row {
  std::string_view text;  // one JSON value, if the file is well-formed
  int64_t line = 0;       // 1-based, of its first byte; Parquet: the row's number
};

// Rows that follow each other in the file.
struct RowBlock {
  std::string text;
  std::vector<Row> rows;   // views into text, which stay valid when the block is moved; never empty after next()
  int64_t first_row = 0;   // index of rows[0] in the file

  RowBlock() = default;
  RowBlock(RowBlock&&) noexcept = default;
  RowBlock& operator=(RowBlock&&) noexcept = default;
};

class RowStream {
 public:
  // Opens the file and looks at its first bytes.
  // THROWS DataError where it is no data file or empty, IoError.
  // block_bytes: what a block has at least, but at the end. max_row_bytes: see kMaxRowBytes. Both for tests.
  explicit RowStream(const std::filesystem::path& path, size_t block_bytes = size_t{1} << 20, int64_t max_row_bytes = kMaxRowBytes);
  RowStream(RowStream&&) noexcept;
  RowStream& operator=(RowStream&&) noexcept;
  ~RowStream();

  // The next rows; false at the file's end. One thread at a time.
  // THROWS DataError with the line: an array that is damaged or cut off, a compressed stream that is (with the byte
  // offset in the file), a row above kMaxRowBytes, a file without any rows; IoError. What came before is in earlier blocks.
  bool next(RowBlock& block);

  const std::string& path() const;
  bool counts_rows() const;  // "lines" are row numbers (Parquet)

 private:
  class Reader;
  class TextReader;
  class ParquetReader;
  std::unique_ptr<Reader> reader_;
};

}  // namespace nibble::data
