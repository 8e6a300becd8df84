#include "data/jinja_chat.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace nibble::data {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kThinkingVariable = "enable_thinking";

// The pointers to all strings in `value`, which stands at `pointer`.
void add_strings(const Json& value, const std::string& pointer, std::vector<std::string>& out) {
  if (value.is_string()) {
    out.push_back(pointer);
  } else if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) add_strings(value[i], fmt::format("{}/{}", pointer, i), out);
  } else if (value.is_object()) {
    for (const auto& [key, item] : value.items()) {
      std::string escaped;
      for (const char c : key) {
        if (c == '~') escaped += "~0";
        else if (c == '/') escaped += "~1";
        else escaped += c;
      }
      add_strings(item, pointer + "/" + escaped, out);
    }
  }
}

bool is_bare_call(const Message& message) { return message.content.empty() && message.fields.contains("tool_calls"); }

// bare: the content of a message that only calls tools.
Json message_json(const Message& message, const Json& bare) {
  Json out{{"role", message.role}, {"content", is_bare_call(message) ? bare : Json(message.content)}};
  // A content that is no text (a list of parts) stands among the fields.
  for (const auto& [key, value] : message.fields.items()) out[key] = value;
  return out;
}

bool is_blank(const std::string& text) { return text.find_first_not_of(" \t\r\n") == text.npos; }

Conversation probe(std::initializer_list<const char*> contents) {
  Conversation out;
  for (const char* content : contents) out.messages.push_back({out.messages.size() % 2 == 0 ? "user" : "assistant", content});
  return out;
}

std::vector<std::string> special_tokens(const Tokenizer& tokenizer) {
  std::vector<std::string> out;
  for (int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const auto i = static_cast<int32_t>(id);
    if ((tokenizer.is_special(i) || i == tokenizer.eos_id()) && !tokenizer.token(i).empty()) out.push_back(tokenizer.token(i));
  }
  // Of two that both end a text, the longer one is meant.
  std::stable_sort(out.begin(), out.end(), [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
  return out;
}

}  // namespace

// The variables of one rendering, with the strings in them that come from the row.
struct JinjaChat::Input {
  Json variables;
  std::vector<std::string> origins;  // JSON pointers
  std::vector<int64_t> messages;     // [origins] index of the message; -1: of the tools
};

std::tm prepared_on() {
  std::tm day{};
  day.tm_year = 2024 - 1900;
  day.tm_mon = 6;
  day.tm_mday = 26;
  day.tm_wday = 5;
  day.tm_yday = 207;
  return day;
}

JinjaChat::JinjaChat(const std::string& source, const std::string& name, const Tokenizer& tokenizer, const JinjaSettings& settings)
    : program_(jinja::Program::parse(source, name)), source_(source), enable_thinking_(settings.enable_thinking) {
  variables_ = Json::object();
  // Without a BOS token the variable is empty, so that a template that writes it in front of a text does not fail.
  variables_["bos_token"] = "";
  const auto add_token = [&](const char* variable, int32_t id) {
    if (id >= 0) variables_[variable] = tokenizer.token(id);
  };
  add_token("bos_token", tokenizer.bos_id());
  add_token("eos_token", tokenizer.eos_id());
  add_token("unk_token", tokenizer.unk_id());
  add_token("pad_token", tokenizer.pad_id());
  variables_["tools"] = nullptr;
  variables_["documents"] = nullptr;
  if (enable_thinking_) variables_[kThinkingVariable] = *enable_thinking_;
  options_.now = settings.now.value_or(prepared_on());
  learn(special_tokens(tokenizer));
}

void JinjaChat::learn(const std::vector<std::string>& specials) {
  try {
    const Conversation one = probe({"Hello."});
    const std::string question = mark(one, false).first.text, prompt = mark(one, true).first.text;
    std::optional<MarkedText> tool_call;
    try {
      Conversation calling = probe({"Hello.", ""});
      Json call{{"id", "call12345"}, {"type", "function"}};
      call["function"] = {{"name", "look"}, {"arguments", Json::object({{"at", "this"}})}};
      calling.messages[1].fields["tool_calls"] = Json::array({call});
      tool_call = mark(calling, false).first;
    } catch (const DataError&) {  // it writes no tool calls
    }
    const auto [whole, input] = mark(probe({"Hello.", "Good day.", "How are you?", "Well."}), false);
    const auto tail = [&, &input = input](int64_t message) { return prompt_tail(input, message); };
    shape_ = learn_turn_shape(whole, tail, question, prompt, tool_call, specials);
  } catch (const DataError&) {
    // A template that refuses the simplest conversation: its answers cannot be told, unless it has generation blocks.
  }
}

JinjaChat::Input JinjaChat::input_of(const Conversation& conversation, const Json& bare) const {
  Input input{variables_, {}, {}};
  Json messages = Json::array();
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    messages.push_back(message_json(conversation.messages[i], bare));
    for (const auto& [key, value] : messages.back().items()) {
      if (key != "role") add_strings(value, fmt::format("/messages/{}/{}", i, key), input.origins);
    }
    input.messages.resize(input.origins.size(), static_cast<int64_t>(i));
  }
  input.variables["messages"] = std::move(messages);
  if (!conversation.tools.is_null() && !conversation.tools.empty()) {
    add_strings(conversation.tools, "/tools", input.origins);
    input.messages.resize(input.origins.size(), -1);
    input.variables["tools"] = conversation.tools;
  }
  return input;
}

MarkedText JinjaChat::mark(Input& input, bool add_generation_prompt) const {
  input.variables["add_generation_prompt"] = add_generation_prompt;
  jinja::Output output = program_.render(input.variables, input.origins, options_);
  MarkedText out{std::move(output.text), {}, {}, {}};
  for (const jinja::Mark& mark : output.marks) {
    if (mark.origin != jinja::kGeneration) {
      out.marks.push_back(mark);
      out.messages.push_back(input.messages[mark.origin]);
    } else if (!out.generation_blocks.empty() && mark.begin < out.generation_blocks.back().end) {
      out.generation_blocks.back().end = std::max(out.generation_blocks.back().end, mark.end);
    } else {
      out.generation_blocks.push_back({mark.begin, mark.end});
    }
  }
  return out;
}

std::pair<MarkedText, JinjaChat::Input> JinjaChat::mark(const Conversation& conversation, bool add_generation_prompt) const {
  Input input = input_of(conversation, nullptr);
  try {
    MarkedText out = mark(input, add_generation_prompt);
    return {std::move(out), std::move(input)};
  } catch (const DataError&) {
    if (std::none_of(conversation.messages.begin(), conversation.messages.end(), is_bare_call)) throw;
  }
  // Beside a call, OpenAI has no content and some templates ask for none; others want a text, be it empty.
  input = input_of(conversation, "");
  MarkedText out = mark(input, add_generation_prompt);
  return {std::move(out), std::move(input)};
}

// What the template writes to ask for this message: the conversation ends in front of it.
std::optional<Tail> JinjaChat::prompt_tail(const Input& input, int64_t message) const {
  Input before{input.variables, input.origins, input.messages};
  Json& messages = before.variables["messages"];
  messages.erase(messages.begin() + message, messages.end());
  // A prompt that asks for an answer without a thought has an empty one in it, which an answer in the data has too.
  before.variables.erase(kThinkingVariable);
  try {
    return tail_of(mark(before, true));
  } catch (const DataError&) {
    return std::nullopt;
  }
}

Rendering JinjaChat::render(const Conversation& conversation, bool add_generation_prompt, bool find_answers) const {
  const auto [marked, input] = mark(conversation, add_generation_prompt);
  Rendering out;
  if (find_answers) {
    std::vector<int64_t> assistants;
    for (size_t i = 0; i < conversation.messages.size(); ++i) {
      if (conversation.messages[i].role == "assistant") assistants.push_back(static_cast<int64_t>(i));
    }
    out.answers = data::find_answers(marked, assistants, shape_, [&, &input = input](int64_t message) { return prompt_tail(input, message); },
                                     program_.has_generation_blocks());
  }
  std::vector<bool> shown(conversation.messages.size(), false);
  for (size_t m = 0; m < marked.marks.size(); ++m) {
    if (marked.messages[m] >= 0) shown[marked.messages[m]] = true;
    const Span span{marked.marks[m].begin, marked.marks[m].end};
    if (span.begin == span.end) continue;
    if (!out.contents.empty() && out.contents.back().end == span.begin) {
      out.contents.back().end = span.end;
    } else {
      out.contents.push_back(span);
    }
  }
  for (size_t i = 0; i < shown.size(); ++i) {
    if (!shown[i] && !is_blank(conversation.messages[i].content)) out.left_out.push_back(static_cast<int64_t>(i));
  }
  out.text = marked.text;
  return out;
}

std::string JinjaChat::fingerprint() const {
  std::string out = fmt::format("{}:{}|{}|", source_.size(), source_, variables_.dump(-1, ' ', false, Json::error_handler_t::replace));
  if (program_.reads_clock()) out += fmt::format("{} {} {}", options_.now->tm_year, options_.now->tm_mon, options_.now->tm_mday);
  return out;
}

}  // namespace nibble::data
