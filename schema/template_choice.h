// chat_template_path: the model's own template, one of the built-in formats, or a path.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "schema/enums.h"

namespace nibble {

struct TemplateChoice {
  std::optional<ChatTemplate> format;  // a built-in one
  std::string path;                    // a .jinja file, or a folder with a tokenizer's template; neither: the model's own
  bool operator==(const TemplateChoice&) const = default;
};

namespace schema {

// "auto" (axolotl's "tokenizer_default" too), a built-in format's name or another name of it, or a path: a text with a '/'
// in it, or one that ends with .jinja, .jinja2 or .j2. nullopt: none of these, so that a mistyped name is no path.
std::optional<TemplateChoice> parse_template_choice(std::string_view text);

// What reads back as the same choice.
std::string template_choice_text(const TemplateChoice& choice);

// What `text` should have been, for a message: the nearest name where one is near, and all of them.
std::string template_choice_help(std::string_view text);

}  // namespace schema
}  // namespace nibble
