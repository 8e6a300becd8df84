// Conversations to text, with the spans of the answers.
//
// The built-in templates are chatml and alpaca. A model's own template (Jinja text) is recognized, not interpreted: where
// it is one of the chatml family it becomes chatml with that template's default system prompt; anything else is an error
// that names the choices. Spans come out of the rendering itself, never out of searching the text for markers.
//
// An answer runs from the first byte behind its header to the end of its end-of-turn text, that included, the line break
// behind it not. What the template adds (BOS) stands in the text: tokenize it without adding special tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/conversation.h"
#include "data/regex.h"
#include "data/tokenizer.h"
#include "schema/enums.h"

namespace nibble::data {

// What a model has to write of one message of the assistant: from the first byte behind its header to the end of its
// end-of-turn text, that included.
struct Answer {
  Span span;            // bytes of the rendering
  int64_t message = 0;  // its index in the conversation
};

struct Rendering {
  std::string text;
  std::vector<Answer> answers;  // in order, disjoint; of every message of the assistant, learned or not
  std::vector<Span> contents;   // what came out of the row, in order, disjoint, not empty; the rest the template wrote
};

struct Template {
  ChatTemplate kind = ChatTemplate::kChatml;
  std::string default_system;  // chatml: put in front where a conversation does not begin with a system message; "": none
  std::string bos;             // alpaca: in front of everything
  bool any_role = true;        // chatml: false where the model's own template treats tool messages in a way of its own
  std::string end_of_turn;     // chatml: "<|im_end|>"; alpaca: the tokenizer's EOS
};

// The template that training uses. choice: the value of chat_template_path; nullopt: the model's own.
// THROWS ConfigError where the model's own is not recognized, or where a token that the template writes is not a token.
Template choose_template(std::optional<ChatTemplate> choice, const Tokenizer& tokenizer);

// The chatml template that a Jinja text amounts to for plain conversations; nullopt: another kind.
std::optional<Template> recognize_template(std::string_view jinja);

// add_generation_prompt: ends with the header of an answer.
// THROWS DataError where the template has no place for a role (alpaca: system elsewhere than in front, tool; a
// recognized template: tool where the original wraps it).
Rendering render(const Template& chat, const Conversation& conversation, bool add_generation_prompt);

// One row of the alpaca schema as messages of this template. Under alpaca the wording is Stanford's, in two forms (with
// and without input); under chatml the input follows the instruction on a line of its own.
std::vector<Message> alpaca_messages(const Template& chat, const std::string& instruction, const std::string& input,
                                     const std::string& output);

}  // namespace nibble::data
