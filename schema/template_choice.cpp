#include "schema/template_choice.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "schema/enum_names.h"
#include "schema/scalar.h"

namespace nibble::schema {
namespace {

bool is_path(std::string_view text) {
  const auto ends = [&](std::string_view ending) { return text.size() > ending.size() && text.ends_with(ending); };
  return text.find('/') != text.npos || ends(".jinja") || ends(".jinja2") || ends(".j2");
}

}  // namespace

std::optional<TemplateChoice> parse_template_choice(std::string_view text) {
  if (text == "auto" || text == "tokenizer_default") return TemplateChoice{};
  const auto& names = EnumNames<ChatTemplate>::names;
  const auto found = std::find(names.begin(), names.end(), text);
  if (found != names.end()) return TemplateChoice{static_cast<ChatTemplate>(found - names.begin()), ""};
  for (const auto& alias : EnumAliases<ChatTemplate>::names) {
    if (alias.name == text) return TemplateChoice{alias.value, ""};
  }
  if (text.find('\0') != text.npos || !is_path(text)) return std::nullopt;
  return TemplateChoice{std::nullopt, std::string(text)};
}

std::string template_choice_text(const TemplateChoice& choice) {
  if (choice.format) return std::string(enum_name(*choice.format));
  return choice.path.empty() ? "auto" : choice.path;
}

std::string template_choice_help(std::string_view text) {
  constexpr size_t kLongest = 64;
  std::string nearest;
  int64_t least = 3;  // a name further off was hardly meant
  const auto consider = [&](std::string_view name) {
    const int64_t distance = text.size() <= kLongest ? edit_distance(text, name) : least;
    if (distance >= least) return;
    least = distance;
    nearest = name;
  };
  for (const std::string_view name : EnumNames<ChatTemplate>::names) consider(name);
  for (const auto& alias : EnumAliases<ChatTemplate>::names) consider(alias.name);
  return fmt::format("auto, a built-in format ({}) or the path of a .jinja file{}", fmt::join(EnumNames<ChatTemplate>::names, ", "),
                     nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest));
}

}  // namespace nibble::schema
