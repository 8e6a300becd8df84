// The text of a template and its name, for messages that say where.
#pragma once

#include <string>
#include <string_view>

#include "core/error.h"

namespace nibble::data::jinja {

struct Source {
  std::string name;
  std::string text;  // line ends are \n, the last one left out, as jinja2 reads it

  // Line and column (in characters) of a byte.
  Place place(size_t at) const;
  [[noreturn]] void refuse(size_t at, const std::string& message) const;  // THROWS FormatError
};

// THROWS FormatError where the text is not UTF-8 or too large for 32-bit offsets.
Source make_source(std::string_view text, std::string name);

}  // namespace nibble::data::jinja
