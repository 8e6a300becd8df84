// One value of each type that a key can have: from YAML scalars, to YAML text, and what it is called.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <vector>

#include "schema/byte_size.h"
#include "schema/duration.h"
#include "schema/enum_names.h"
#include "schema/field.h"
#include "schema/scalar.h"
#include "schema/template_choice.h"
#include "schema/yaml.h"

namespace nibble::schema {

// "" where `value` was set; else what was found and what is wanted.
inline std::string wrong_type(const std::string& name, const YamlScalar& s, std::string_view wanted) {
  if (s.quoted) return fmt::format("{} = \"{}\" is not {}", name, s.text, wanted);
  return fmt::format("{} = {} is not {}", name, s.text.empty() ? "(empty)" : s.text.c_str(), wanted);
}

inline std::string set_value(const std::string& name, const YamlScalar& s, bool& value) {
  const auto parsed = s.quoted ? std::nullopt : parse_bool(s.text);
  if (!parsed) return wrong_type(name, s, "true or false");
  value = *parsed;
  return "";
}

inline std::string set_value(const std::string& name, const YamlScalar& s, int64_t& value) {
  const auto parsed = s.quoted ? std::nullopt : parse_integer(s.text);
  if (!parsed) return wrong_type(name, s, "a whole number (plain digits, no quotes, no leading zeros, no exponent)");
  value = *parsed;
  return "";
}

inline std::string set_value(const std::string& name, const YamlScalar& s, double& value) {
  const auto parsed = s.quoted ? std::nullopt : parse_number(s.text);
  if (!parsed) return wrong_type(name, s, "a number");
  value = *parsed;
  return "";
}

inline std::string set_value(const std::string& name, const YamlScalar& s, std::string& value) {
  if (s.text.empty() && !s.quoted) return wrong_type(name, s, "a text");
  if (s.text.find('\0') != s.text.npos) return fmt::format("{} has a NUL byte in its text; take it out", name);
  value = s.text;
  return "";
}

inline std::string set_value(const std::string& name, const YamlScalar& s, ByteSize& value) {
  const auto parsed = parse_byte_size(s.text);
  if (!parsed) return wrong_type(name, s, "auto or an amount of memory such as 6GiB, 800MiB or 6 (GiB)");
  value = *parsed;
  return "";
}

inline std::string set_value(const std::string& name, const YamlScalar& s, Duration& value) {
  const auto parsed = parse_duration(s.text);
  if (!parsed) return wrong_type(name, s, "none or a length of time such as 11h30m, 90min, 45s or 11:30:00");
  value = *parsed;
  return "";
}

inline std::string set_value(const std::string& name, const YamlScalar& s, TemplateChoice& value) {
  if (const auto parsed = parse_template_choice(s.text)) {
    value = *parsed;
    return "";
  }
  return wrong_type(name, s, template_choice_help(s.text));
}

template <class Enum>
std::string set_value(const std::string& name, const YamlScalar& s, Enum& value) {
  const auto& names = EnumNames<Enum>::names;
  for (size_t i = 0; i < names.size(); ++i) {
    if (s.text == names[i]) {
      value = static_cast<Enum>(i);
      return "";
    }
  }
  for (const auto& alias : EnumAliases<Enum>::names) {
    if (s.text == alias.name) {
      value = alias.value;
      return "";
    }
  }
  return wrong_type(name, s, fmt::format("one of {}", fmt::join(names, ", ")));
}

inline std::string value_text(bool value) { return value ? "true" : "false"; }
inline std::string value_text(int64_t value) { return fmt::format("{}", value); }
inline std::string value_text(double value) { return number_text(value); }
inline std::string value_text(const std::string& value) { return value.empty() ? "\"\"" : string_text(value); }
inline std::string value_text(ByteSize value) { return byte_size_text(value); }
inline std::string value_text(Duration value) { return duration_text(value); }
inline std::string value_text(const TemplateChoice& value) { return string_text(template_choice_text(value)); }
inline std::string value_text(const std::vector<std::string>& value) {
  if (value.size() == 1) return value_text(value[0]);
  std::vector<std::string> parts;
  for (const std::string& v : value) parts.push_back(value_text(v));
  return fmt::format("[{}]", fmt::join(parts, ", "));
}
inline std::string value_text(const std::vector<double>& value) {
  std::vector<std::string> parts;
  for (const double v : value) parts.push_back(value_text(v));
  return fmt::format("[{}]", fmt::join(parts, ", "));
}
template <class Enum>
  requires std::is_enum_v<Enum>
std::string value_text(Enum value) {
  return std::string(enum_name(value));
}

// What documents call the type.
inline std::string type_text(bool) { return "true or false"; }
inline std::string type_text(int64_t) { return "whole number"; }
inline std::string type_text(double) { return "number"; }
inline std::string type_text(const std::string&) { return "text"; }
inline std::string type_text(ByteSize) { return "auto, or 6GiB, 800MiB, 6 (GiB)"; }
inline std::string type_text(Duration) { return "none, or 11h30m, 90min, 45s, 11:30:00"; }
inline std::string type_text(const TemplateChoice&) {
  return fmt::format("auto, {}, or the path of a .jinja file or a tokenizer's folder", fmt::join(EnumNames<ChatTemplate>::names, ", "));
}
inline std::string type_text(const std::vector<std::string>&) { return "text or list"; }
inline std::string type_text(const std::vector<double>&) { return "list of numbers"; }
template <class Enum>
  requires std::is_enum_v<Enum>
std::string type_text(Enum) {
  return fmt::format("{}", fmt::join(EnumNames<Enum>::names, ", "));
}

}  // namespace nibble::schema
