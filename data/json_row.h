// One row of a dataset, parsed strictly: JSON of RFC 8259 in valid UTF-8, an object, no key given twice, nested at most
// 64 deep. Errors name file, line and, where the trouble lies in a value, the field. Objects keep the order of their keys:
// templates write them out.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "data/row_stream.h"

namespace nibble::data {

using Json = nlohmann::ordered_json;

// Where a row stands; makes its errors.
struct RowPlace {
  const std::string& file;
  int64_t line;
  bool counts_rows = false;  // the line is the row's number (RowStream::counts_rows)
  // DataError "FILE:LINE: FIELD: message"; field "" : the row as a whole.
  [[noreturn]] void fail(std::string_view field, const std::string& message) const;
};

// THROWS DataError.
Json parse_row(const Row& row, const RowPlace& place);

// JSON text that stands in a string of a row (the arguments of a tool call), with the same strictness.
// THROWS DataError naming `field`.
Json parse_json_string(std::string_view text, const std::string& field, const RowPlace& place);

// "a string", "a number", ... : a value's type as people call it.
std::string_view type_text(const Json& value);

}  // namespace nibble::data
