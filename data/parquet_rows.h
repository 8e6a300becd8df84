// The rows of a Parquet file as JSON objects, through Apache Arrow where the build has it (CMake option NIBBLE_PARQUET).
//
// Strings (also large, dictionary-encoded and views), integers, floats, booleans, null, lists, structs and maps with string
// keys become what they are in JSON; NaN and infinity become null. Columns of other types (binary, timestamps, decimals)
// are left out. Rows come batch by batch and pages are read as they are needed, so a row group is never held decoded.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

namespace nibble::data {

// Whether this build reads Parquet.
bool reads_parquet();

class ParquetRows {
 public:
  // THROWS DataError where the build does not read Parquet (with the command that converts the file), where the file is
  // damaged or has no column of a type that rows can have; IoError.
  explicit ParquetRows(const std::string& path);
  ParquetRows(const ParquetRows&) = delete;
  ~ParquetRows();

  // Appends the next row's JSON text; false at the end. THROWS DataError with the row's number.
  bool append_next(std::string& text);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace nibble::data
