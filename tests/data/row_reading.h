// One row as text through parsing, choice of the shape and reading, for tests.
#pragma once

#include <string>

#include "data/row_schema.h"
#include "tests/data/row_fixtures.h"

namespace nibble::data {

inline constexpr int64_t kTestVocab = 1000;

// The row's content, its shape chosen from `first` (itself where that is empty).
inline RowContent read_text(const std::string& row, const FieldNames& names = {}, DatasetFormat format = DatasetFormat::kAuto,
                            const std::string& first = "") {
  const std::string file = "rows.jsonl";
  const RowPlace first_place{file, 1}, place{file, first.empty() ? 1 : 2};
  const RowShape shape = choose_shape(format, names, parse_row({first.empty() ? row : first, 1}, first_place), first_place);
  return read_row(shape, parse_row({row, place.line}, place), place, kTestVocab);
}

template <class Content>
Content read_as(const std::string& row, const FieldNames& names = {}, DatasetFormat format = DatasetFormat::kAuto) {
  return std::get<Content>(read_text(row, names, format));
}

inline std::string row_refusal(const std::string& row, const FieldNames& names = {}, DatasetFormat format = DatasetFormat::kAuto,
                               const std::string& first = "") {
  return refusal_of([&] { read_text(row, names, format, first); });
}

}  // namespace nibble::data
