// Unicode's upper, lower and title case beyond ASCII, as characters.cpp reads it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nibble::data::jinja {

// The characters first, first + stride, ... last each become the one `distance` further on. Runs are in order.
struct CaseRun {
  uint32_t first;
  uint32_t last;
  uint32_t stride;
  int32_t distance;
};

// A character that becomes several. In order.
struct CaseSpecial {
  uint32_t character;
  char32_t text[4];  // ends with 0
};

extern const CaseRun kUpperRuns[];
extern const size_t kUpperRunsCount;
extern const CaseRun kLowerRuns[];
extern const size_t kLowerRunsCount;
extern const CaseSpecial kUpperSpecials[];
extern const size_t kUpperSpecialsCount;
extern const CaseSpecial kTitleSpecials[];
extern const size_t kTitleSpecialsCount;

}  // namespace nibble::data::jinja
