// An error inside an expression, before its place in the template is known: the interpreter adds line and column and
// throws DataError.
#pragma once

#include <stdexcept>
#include <string>

namespace nibble::data::jinja {

struct Failure : std::runtime_error {
  explicit Failure(const std::string& message) : std::runtime_error(message) {}
};

}  // namespace nibble::data::jinja
