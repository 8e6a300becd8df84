// Everything that parsing a template gives; immutable afterwards and shared by all renderings.
#pragma once

#include <deque>
#include <string>
#include <unordered_map>

#include "data/jinja/ast.h"
#include "data/jinja/source.h"

namespace nibble::data::jinja {

struct ParsedTemplate {
  Source source;
  Body body;
  std::vector<std::string_view> names;  // by NameId; of variables
  // Names with a meaning of their own.
  NameId loop = 0, caller = 0, varargs = 0, kwargs = 0;
  bool has_generation_blocks = false;
  bool reads_clock = false;

  // Keeps a text for as long as the template; views to it stay valid.
  std::string_view keep(std::string text) { return strings_.emplace_back(std::move(text)); }
  NameId name_id(std::string_view name);

 private:
  std::deque<std::string> strings_;
  std::unordered_map<std::string_view, NameId> ids_;
};

// THROWS FormatError with line and column.
std::unique_ptr<ParsedTemplate> parse_template(std::string_view source, std::string name);

}  // namespace nibble::data::jinja
