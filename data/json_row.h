// One row of a dataset, parsed strictly: JSON of RFC 8259 in valid UTF-8, an object, no key given twice, nested at most
// 64 deep. Errors name file, line and, where the trouble lies in a value, the field.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "data/row_file.h"

namespace nibble::data {

// Where a row stands; makes its errors.
struct RowPlace {
  const std::string& file;
  int64_t line;
  // DataError "FILE:LINE: FIELD: message"; field "" : the row as a whole.
  [[noreturn]] void fail(std::string_view field, const std::string& message) const;
};

// THROWS DataError.
nlohmann::json parse_row(const Row& row, const RowPlace& place);

// "a string", "a number", ... : a value's type as people call it.
std::string_view type_text(const nlohmann::json& value);

}  // namespace nibble::data
