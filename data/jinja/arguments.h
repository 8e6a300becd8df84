// The evaluated arguments of a call, and how a function takes them: by Python's rules for positions and names.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "data/jinja/value.h"

namespace nibble::data::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> keywords;
  Value kept;  // the dictionary that names of keywords point into, where there was a **dict
};

// The value of each parameter, null where it was not given. required: how many of the first must be given.
// THROWS Failure that names the function where an argument is missing, unknown or given twice.
void bind_arguments(std::string_view function, const Arguments& arguments, const std::string_view* names, const Value** values,
                    size_t count, size_t required);

template <size_t N>
std::array<const Value*, N> bind(std::string_view function, const Arguments& arguments, const std::array<std::string_view, N>& names,
                                 size_t required) {
  std::array<const Value*, N> values{};
  bind_arguments(function, arguments, names.data(), values.data(), N, required);
  return values;
}

// THROWS Failure where there is any argument.
void bind_none(std::string_view function, const Arguments& arguments);

// A parameter as what the function needs. value null: not given. THROWS Failure where it has another type.
const Text& text_argument(std::string_view function, const Value* value);
std::optional<Text> optional_text_argument(std::string_view function, const Value* value);  // none counts as not given
int64_t integer_argument(std::string_view function, const Value* value, int64_t otherwise);
bool flag_argument(const Value* value, bool otherwise);  // any value has a truth

}  // namespace nibble::data::jinja
