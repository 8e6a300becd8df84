// Where the answers are in what a Jinja template rendered: told by where its text comes from, never by searching it.
//
// {% generation %} blocks say it themselves. Else: what stands between the text before an answer and the answer's first
// byte is compared with what the template writes when it is asked for this very answer (add_generation_prompt); what both
// have in common is the header. Behind the last byte of the answer that came out of the row, the template's own text has
// the token that ends the turn, and the answer ends with it. Which token that is, is learned from probe conversations
// (learn_turn_shape), before any row is seen.
//
// transformers and TRL take the difference of two renderings for the answer, which goes wrong where the prompt is not a
// prefix of the whole (Qwen3, DeepSeek-R1, Mistral with a system message).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/jinja/program.h"
#include "data/rendering.h"

namespace nibble::data {

// What a template always does around answers.
struct TurnShape {
  std::vector<std::string> turn_ends;  // tokens that end an answer, the usual one first; none: it could not be learned
  std::string prompt_header;           // what asking for an answer adds to a question
  std::string answer_lead;             // what stands between that and an answer
};

// A rendering, with the message of the conversation that each mark comes from.
struct MarkedText {
  std::string text;
  std::vector<jinja::Mark> marks;        // of the row's strings, in order, disjoint
  std::vector<int64_t> messages;         // [marks] index of the message; -1: of the tools
  std::vector<Span> generation_blocks;   // in order, disjoint
};

// What was written behind the last byte of the row's own text, and which string of the row that byte is of.
struct Tail {
  std::string literal;
  int32_t origin = jinja::kNoOrigin;
};

// The rendering of the messages before message i, ending with the header of an answer; nullopt: the template refuses it.
using PromptTail = std::function<std::optional<Tail>(int64_t message)>;

// The answers of these messages of the assistant, in order.
// THROWS DataError where one cannot be told surely, with the reason and the ways out.
std::vector<Answer> find_answers(const MarkedText& rendered, const std::vector<int64_t>& assistants, const TurnShape& shape, const PromptTail& tail,
                                 bool has_generation_blocks);

// The tail of a rendering.
Tail tail_of(const MarkedText& rendered);

// plain: two questions with their answers; question, prompt: one question alone, without and with the header of an answer.
// tool_call: a question and an answer that calls a tool, where the template can write that. specials: the tokenizer's special tokens.
TurnShape learn_turn_shape(const MarkedText& plain, const PromptTail& plain_tail, const std::string& question, const std::string& prompt,
                           const std::optional<MarkedText>& tool_call, const std::vector<std::string>& specials);

}  // namespace nibble::data
