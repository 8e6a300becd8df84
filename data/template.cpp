#include "data/template.h"

#include <fmt/core.h>

#include <span>

#include "core/error.h"

namespace nibble::data {
namespace {

constexpr std::string_view kTurnBegin = "<|im_start|>";
constexpr std::string_view kTurnEnd = "<|im_end|>";

// github.com/tatsu-lab/stanford_alpaca, the two prompt forms.
constexpr std::string_view kAlpacaSystem =
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.";
constexpr std::string_view kAlpacaSystemWithInput =
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a response "
    "that appropriately completes the request.";

uint32_t size_of(const std::string& text) { return static_cast<uint32_t>(text.size()); }

// Text that comes out of the row.
void append_content(const std::string& content, Rendering& out) {
  const uint32_t begin = size_of(out.text);
  out.text.append(content);
  if (!content.empty()) out.contents.push_back({begin, size_of(out.text)});
}

// Neither built-in template has a place for tools.
void refuse_tools(const Conversation& conversation) {
  if (!conversation.tools.is_null()) throw DataError("tools cannot be rendered by the built-in templates; leave such rows out");
  for (const Message& message : conversation.messages) {
    if (message.fields.contains("tool_calls")) throw DataError("tool calls cannot be rendered by the built-in templates; leave such rows out");
  }
}

Rendering render_chatml(const Template& chat, std::span<const Message> messages, bool add_generation_prompt) {
  Rendering out;
  const auto header = [&](std::string_view role) {
    out.text.append(kTurnBegin).append(role).append("\n");
  };
  if (!chat.default_system.empty() && !messages.empty() && messages.front().role != "system") {
    header("system");
    out.text.append(chat.default_system).append(kTurnEnd).append("\n");
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    if (!chat.any_role && message.role != "system" && message.role != "user" && message.role != "assistant") {
      throw DataError(fmt::format("the model's own template treats messages of role '{}' in a way that is not known here; leave "
                                  "such rows out, or set chat_template_path: chatml", message.role));
    }
    header(message.role);
    const uint32_t begin = size_of(out.text);
    append_content(message.content, out);
    out.text.append(kTurnEnd);
    if (message.role == "assistant") out.answers.push_back({{begin, size_of(out.text)}, static_cast<int64_t>(i)});
    out.text.append("\n");
  }
  if (add_generation_prompt) header("assistant");
  return out;
}

Rendering render_alpaca(const Template& chat, std::span<const Message> messages, bool add_generation_prompt) {
  Rendering out;
  size_t first = 0;  // message that is not the system's
  out.text.append(chat.bos);
  if (!messages.empty() && messages.front().role == "system") {
    append_content(messages.front().content, out);
    messages = messages.subspan(1);
    first = 1;
  } else {
    out.text.append(kAlpacaSystem);
  }
  out.text.append("\n\n");
  for (size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    if (message.role == "user") {
      out.text.append("### Instruction:\n");
      append_content(message.content, out);
      out.text.append("\n\n");
    } else if (message.role == "assistant") {
      out.text.append("### Response:");
      const uint32_t begin = size_of(out.text);
      append_content(message.content, out);
      out.text.append(chat.end_of_turn);
      out.answers.push_back({{begin, size_of(out.text)}, static_cast<int64_t>(first + i)});
      if (i + 1 < messages.size()) out.text.append("\n\n");
    } else {
      throw DataError(fmt::format("the alpaca template has no place for a message of role '{}' here: it knows user and "
                                  "assistant, and one system message in front; use chat_template_path: chatml", message.role));
    }
  }
  if (add_generation_prompt) out.text.append("### Response:");
  return out;
}

void require_token(const Tokenizer& tokenizer, std::string_view token, std::string_view name) {
  if (tokenizer.token_id(token) >= 0) return;
  throw ConfigError(fmt::format("chat_template_path: the {} template writes {}, which is not a token of this model, so that "
                                "the end of a turn could not be learned; choose another template (alpaca, chatml)", name, token));
}

std::string eos_text(const Tokenizer& tokenizer) {
  if (tokenizer.eos_id() >= 0) return tokenizer.token(tokenizer.eos_id());
  throw ConfigError("chat_template_path: the alpaca template ends answers with the tokenizer's EOS token, but this tokenizer "
                    "names none; add \"eos_token\" to tokenizer_config.json or choose chatml");
}

}  // namespace

std::optional<Template> recognize_template(std::string_view jinja) {
  // Templates with a thinking block or a marked-up answer render answers differently from plain chatml.
  const auto has = [&](std::string_view text) { return jinja.find(text) != std::string_view::npos; };
  if (!has(kTurnBegin) || !has(kTurnEnd) || has("<think>") || has("<|im_sep|>") || !has("'<|im_start|>' + message")) {
    return std::nullopt;
  }
  Template chat;
  chat.end_of_turn = kTurnEnd;
  chat.any_role = !has("tool_response");
  // A default system prompt is a literal between the header and the end of the turn, without an expression in it. The
  // line break is written as such or as \n.
  for (const std::string_view header : {std::string_view("<|im_start|>system\n"), std::string_view("<|im_start|>system\\n")}) {
    for (size_t at = jinja.find(header); at != std::string_view::npos; at = jinja.find(header, at + 1)) {
      const size_t begin = at + header.size();
      const size_t end = jinja.find(kTurnEnd, begin);
      if (end == std::string_view::npos) continue;
      const std::string_view literal = jinja.substr(begin, end - begin);
      if (literal.find_first_of("'\"{}\\") != std::string_view::npos || literal.empty()) continue;
      chat.default_system = literal;
      return chat;
    }
  }
  return chat;
}

Template choose_template(std::optional<ChatTemplate> choice, const Tokenizer& tokenizer) {
  if (!choice) {
    const std::string& jinja = tokenizer.chat_template();
    const auto own = recognize_template(jinja);
    if (own) return *own;
    const char* why = jinja.empty() ? "the model has no chat template of its own" : "the model's own chat template is not of a kind that is known";
    throw ConfigError(fmt::format("{}: set chat_template_path to one of the built-in templates (alpaca, chatml)", why));
  }
  switch (*choice) {
    case ChatTemplate::kChatml:
      require_token(tokenizer, kTurnBegin, "chatml");
      require_token(tokenizer, kTurnEnd, "chatml");
      return {ChatTemplate::kChatml, "", "", true, std::string(kTurnEnd)};
    case ChatTemplate::kAlpaca:
      return {ChatTemplate::kAlpaca, "", tokenizer.adds_bos() ? tokenizer.token(tokenizer.bos_id()) : "", false,
              eos_text(tokenizer)};
  }
  throw std::logic_error("unknown chat template");
}

Rendering render(const Template& chat, const Conversation& conversation, bool add_generation_prompt) {
  refuse_tools(conversation);
  switch (chat.kind) {
    case ChatTemplate::kChatml: return render_chatml(chat, conversation.messages, add_generation_prompt);
    case ChatTemplate::kAlpaca: return render_alpaca(chat, conversation.messages, add_generation_prompt);
  }
  throw std::logic_error("unknown chat template");
}

std::vector<Message> alpaca_messages(const Template& chat, const std::string& instruction, const std::string& input,
                                     const std::string& output) {
  std::vector<Message> messages;
  std::string user = instruction;
  if (!input.empty()) {
    if (chat.kind == ChatTemplate::kAlpaca) messages.push_back({"system", std::string(kAlpacaSystemWithInput)});
    user += (chat.kind == ChatTemplate::kAlpaca ? "\n\n### Input:\n" : "\n") + input;
  }
  messages.push_back({"user", user});
  messages.push_back({"assistant", output});
  return messages;
}

}  // namespace nibble::data
