#include "data/jinja/filters.h"

#include <algorithm>

#include "data/jinja/search.h"
#include "data/jinja/subscript.h"

namespace nibble::data::jinja {
namespace {

// Filters of jinja2 that chat templates have no use for: HTML, layout, random numbers.
constexpr std::string_view kUnsupported[] = {"batch", "filesizeformat", "groupby", "pprint", "random", "slice", "striptags",
                                             "urlencode", "urlize", "wordcount", "wordwrap", "xmlattr"};

}  // namespace

const Filter* find_filter(std::string_view name) {
  for (const FilterTable& table : {text_filters(), sequence_filters(), selection_filters(), value_filters()}) {
    const Filter* at = std::find_if(table.begin, table.end, [&](const Filter& f) { return f.name == name; });
    if (at != table.end) return at;
  }
  return nullptr;
}

bool is_unsupported_filter(std::string_view name) {
  return std::find(std::begin(kUnsupported), std::end(kUnsupported), name) != std::end(kUnsupported);
}

Value attribute_path(Environment& environment, const Value& value, const Value& path) {
  if (path.is_none()) return value;
  const Text* text = path.text();
  if (!text) return item_of(environment, value, path);
  Value out = value;
  std::string_view rest = text->bytes();
  while (true) {
    const std::string_view part = rest.substr(0, rest.find('.'));
    const bool index = !part.empty() && part.size() <= 18 && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    Value next = item_of(environment, out, index ? Value(int64_t{std::stoll(std::string(part))}) : Value(text->part(part)));
    out = std::move(next);
    if (part.size() == rest.size()) return out;
    rest.remove_prefix(part.size() + 1);
  }
}

}  // namespace nibble::data::jinja
