// Jinja's tests: {{ value is name(arguments) }}.
#pragma once

#include "data/jinja/arguments.h"
#include "data/jinja/environment.h"

namespace nibble::data::jinja {

struct Test {
  std::string_view name;
  bool (*call)(Environment&, const Value& operand, const Arguments&);
};

const Test* find_test(std::string_view name);  // null: none; jinja2's own are all there

}  // namespace nibble::data::jinja
