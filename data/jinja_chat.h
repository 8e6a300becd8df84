// Conversations rendered by a chat template in Jinja, with the variables that transformers' apply_chat_template gives it.
#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <vector>

#include "data/answer_spans.h"
#include "data/conversation.h"
#include "data/jinja/program.h"
#include "data/rendering.h"
#include "data/tokenizer.h"

namespace nibble::data {

struct JinjaSettings {
  std::optional<bool> enable_thinking;  // the variable of that name; nullopt: not defined
  std::optional<std::tm> now;           // what strftime_now tells; nullopt: prepared_on()
};

// The day that prepared data says it was written on, where its template writes a date: the one that Llama's templates fall
// back to. Data must not depend on the day on which it was prepared.
std::tm prepared_on();

class JinjaChat {
 public:
  // name: of the template, for messages. THROWS FormatError with line and column where the template cannot be used.
  JinjaChat(const std::string& source, const std::string& name, const Tokenizer& tokenizer, const JinjaSettings& settings);

  // find_answers: false leaves `answers` empty. May be called by any number of threads.
  // THROWS DataError: the template refuses the conversation, or its answers cannot be told.
  Rendering render(const Conversation& conversation, bool add_generation_prompt, bool find_answers) const;

  // Tokens that end an answer, the usual one first; none: the template has none that could be learned.
  const std::vector<std::string>& turn_ends() const { return shape_.turn_ends; }

  // Whether renderings come with answers; else find_answers is an error for every conversation.
  bool tells_answers() const { return !shape_.turn_ends.empty() || program_.has_generation_blocks(); }

  // What tells two of them apart, for caches.
  std::string fingerprint() const;

 private:
  struct Input;
  Input input_of(const Conversation& conversation, const nlohmann::ordered_json& bare_call_content) const;
  MarkedText mark(Input& input, bool add_generation_prompt) const;
  std::pair<MarkedText, Input> mark(const Conversation& conversation, bool add_generation_prompt) const;
  std::optional<Tail> prompt_tail(const Input& input, int64_t message) const;
  void learn(const std::vector<std::string>& specials);

  jinja::Program program_;
  std::string source_;
  nlohmann::ordered_json variables_;  // what is the same for every conversation
  jinja::RenderOptions options_;
  std::optional<bool> enable_thinking_;
  TurnShape shape_;
};

}  // namespace nibble::data
