// Which documents share a row.
//
// Both strategies take the longest document first, equal lengths in the order given, and open a row where none has room:
//
//   ffd  first-fit decreasing: into the first row that has room
//   bfd  best-fit decreasing (TRL's name): into the row that it fills up most; of several, the first
//
// Rows stand in the order they were opened, documents of a row in the order they came. The result depends on the lengths
// alone. Both take O(n log n) at most and 20 to 30 bytes a document.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "schema/enums.h"

namespace nibble::data {

struct PackedRows {
  std::vector<int64_t> starts;     // [rows + 1] into documents
  std::vector<int64_t> documents;  // indices into the lengths, row by row

  int64_t rows() const { return static_cast<int64_t>(starts.size()) - 1; }
  std::span<const int64_t> row(int64_t r) const { return std::span(documents).subspan(starts[r], starts[r + 1] - starts[r]); }
};

// REQUIRES 1 <= length <= capacity for each. THROWS DataError where there are more than 2^31 - 1 documents.
PackedRows pack_rows(std::span<const int32_t> lengths, int64_t capacity, PackingStrategy strategy);

// A row for each document, in their order.
PackedRows one_a_row(int64_t documents);

}  // namespace nibble::data
