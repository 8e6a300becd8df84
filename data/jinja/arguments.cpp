#include "data/jinja/arguments.h"

#include <fmt/core.h>

#include <algorithm>

namespace nibble::data::jinja {

void bind_arguments(std::string_view function, const Arguments& arguments, const std::string_view* names, const Value** values,
                    size_t count, size_t required) {
  if (arguments.positional.size() > count) {
    throw Failure(fmt::format("{} takes at most {} argument(s), but {} are given", function, count, arguments.positional.size()));
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.keywords) {
    const std::string_view wanted = name;
    const auto at = static_cast<size_t>(std::find(names, names + count, wanted) - names);
    if (at == count) throw Failure(fmt::format("{} has no argument named '{}'", function, name));
    if (values[at]) throw Failure(fmt::format("{} is given its argument '{}' twice", function, name));
    values[at] = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!values[i]) throw Failure(fmt::format("{} needs the argument '{}'", function, names[i]));
  }
}

void bind_none(std::string_view function, const Arguments& arguments) {
  if (!arguments.positional.empty() || !arguments.keywords.empty()) throw Failure(fmt::format("{} takes no arguments", function));
}

const Text& text_argument(std::string_view function, const Value* value) {
  require_defined(*value);
  if (const Text* text = value->text()) return *text;
  throw Failure(fmt::format("{} needs a string, not a value of type '{}'", function, type_name(*value)));
}

std::optional<Text> optional_text_argument(std::string_view function, const Value* value) {
  if (!value || value->is_none()) return std::nullopt;
  return text_argument(function, value);
}

int64_t integer_argument(std::string_view function, const Value* value, int64_t otherwise) {
  if (!value) return otherwise;
  require_defined(*value);
  if (const auto integer = as_integer(*value)) return *integer;
  throw Failure(fmt::format("{} needs an integer, not a value of type '{}'", function, type_name(*value)));
}

bool flag_argument(const Value* value, bool otherwise) { return value ? truthy(*value) : otherwise; }

}  // namespace nibble::data::jinja
