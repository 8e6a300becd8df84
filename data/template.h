// Conversations to text, with the spans of the answers: which template a run uses, and rendering by it.
//
// A template is a built-in format (chat_format.h), the model's own Jinja (jinja_chat.h), a .jinja file, or role prefixes and
// suffixes of the configuration. Where a Jinja template writes probe conversations exactly as a built-in format does, that
// format renders in its place, which is faster and whose answers are known by construction; what only the Jinja knows
// (tools, other roles, fields beside the content) still goes through it.
//
// What the template adds (BOS) stands in the text: tokenize it without adding special tokens.
#pragma once

#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/chat_format.h"
#include "data/conversation.h"
#include "data/rendering.h"
#include "data/tokenizer.h"
#include "schema/template_choice.h"

namespace nibble::data {

class JinjaChat;

// Role prefixes and suffixes in place of a template: chat_template_*_prefix and _suffix.
struct RoleAffixes {
  std::string system_prefix, system_suffix;        // both empty: no place for a system message
  std::string user_prefix, user_suffix;
  std::string assistant_prefix, assistant_suffix;  // the suffix begins with the token that ends a turn; "": the tokenizer's EOS
  bool operator==(const RoleAffixes&) const = default;
};

// What the configuration says.
struct TemplateRequest {
  TemplateChoice choice;                                     // chat_template_path
  std::optional<RoleAffixes> affixes = std::nullopt;         // in place of it
  std::optional<bool> enable_thinking = std::nullopt;
  bool answers_needed = true;                                // false: a rendering may come without answers
  std::optional<std::tm> now = std::nullopt;                 // for templates that write a date; nullopt: prepared_on(), for data
};

struct Template {
  std::string name;                        // for people: "llama3", "llama3, the model's own", "the model's own (Jinja)"
  std::string end_of_turn;                 // the token that ends an answer; "": a Jinja template whose answers cannot be told
  std::vector<std::string> turn_ends;      // all tokens that do, this one first: generation stops at each
  std::optional<ChatFormat> format;        // with the tokenizer's tokens; nullopt: Jinja renders everything
  std::shared_ptr<const JinjaChat> jinja;  // null: the format renders everything
  std::optional<bool> enable_thinking;
  bool answers_needed = true;

  // 32 hex digits of everything that decides the renderings and their answers: part of a data cache's key.
  std::string hash() const;
};

// THROWS ConfigError where the model has no template or one that cannot be used, or a token that the format writes is not
// in the vocabulary, naming what fits; IoError where a file cannot be read.
Template choose_template(const TemplateRequest& request, const Tokenizer& tokenizer);

// add_generation_prompt: ends with the header of an answer.
// THROWS DataError where the template has no place for a message, or where answers are needed and cannot be told.
Rendering render(const Template& chat, const Conversation& conversation, bool add_generation_prompt);

// One row of the alpaca schema as messages of this template. Under alpaca the wording is Stanford's, in two forms (with
// and without input); under others the input follows the instruction on a line of its own.
std::vector<Message> alpaca_messages(const Template& chat, const std::string& instruction, const std::string& input,
                                     const std::string& output);

}  // namespace nibble::data
