// Values as text: Python's str() and repr(), which is what {{ }} prints, and JSON as json.dumps writes it.
#pragma once

#include <optional>
#include <string>

#include "data/jinja/value.h"

namespace nibble::data::jinja {

// str(): a string is itself and keeps its marks; None, True, 1.0, ['a', 1], {'k': None}; undefined is empty.
// THROWS Failure where Python would print an address (generators, functions).
Text to_text(const Value& value, Meter& meter);

// repr(): as inside of a list, strings in quotes.
Text to_repr(const Value& value, Meter& meter);

// The shortest text that reads back as the number, in Python's form: 1.0, 1e+16, 0.0001, nan.
std::string float_text(double value);

struct JsonStyle {
  std::optional<std::string> indent;  // what one level is indented with; nullopt: all on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool ascii = false;                 // everything else as \u escapes
  bool sort_keys = false;
};

// THROWS Failure where the value has no form in JSON (undefined, a generator, a key that is a tuple).
Text to_json(const Value& value, const JsonStyle& style, Meter& meter);

}  // namespace nibble::data::jinja
