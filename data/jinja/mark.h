// Where a part of a rendering comes from.
#pragma once

#include <cstdint>

namespace nibble::data::jinja {

constexpr int32_t kNoOrigin = -2;
constexpr int32_t kGeneration = -1;  // text of a {% generation %} block

// Bytes [begin, end) of a text were copied from the string that is registered as `origin` (or stand in a generation
// block). Neighbouring copies of one origin are one mark. An empty mark says where an empty string was written.
struct Mark {
  uint32_t begin = 0;
  uint32_t end = 0;
  int32_t origin = kNoOrigin;

  bool operator==(const Mark&) const = default;
};

}  // namespace nibble::data::jinja
