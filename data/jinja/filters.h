// Filters: {{ value | name(arguments) }}.
#pragma once

#include "data/jinja/arguments.h"
#include "data/jinja/environment.h"

namespace nibble::data::jinja {

struct Filter {
  std::string_view name;
  Value (*call)(Environment&, const Value& operand, const Arguments&);
};

struct FilterTable {
  const Filter* begin;
  const Filter* end;
};

const Filter* find_filter(std::string_view name);  // null: none of ours
bool is_unsupported_filter(std::string_view name);  // jinja2 has it, nibble has not

FilterTable text_filters();      // trim, replace, indent, upper, ...
FilterTable sequence_filters();  // join, list, first, sort, unique, ...
FilterTable selection_filters(); // map, select, rejectattr, ...
FilterTable value_filters();     // default, int, round, tojson, ...

// What attribute= of a filter names: keys and indices with dots between, "function.name". A part that is all digits is an
// index. THROWS Failure where a value on the way is undefined.
Value attribute_path(Environment& environment, const Value& value, const Value& path);

}  // namespace nibble::data::jinja
