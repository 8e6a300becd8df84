#include "data/render_turns.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/utf8.h"
#include "data/think_block.h"

namespace nibble::data {
namespace {

// str.isspace() of Python: the White_Space property and four separators of ASCII.
bool is_python_space(char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }

bool is_blank(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    if (!c.valid || !is_python_space(c.value)) return false;
    at += c.length;
  }
  return true;
}

// str.strip(): the part of `text` between the white space around it.
std::string_view stripped(std::string_view text) {
  size_t begin = 0, end = 0, at = 0;
  bool inside = false;
  while (at < text.size()) {
    const CodePoint c = decode_utf8(text, at);
    if (!c.valid || !is_python_space(c.value)) {
      if (!inside) begin = at;
      inside = true;
      end = at + c.length;
    }
    at += c.length;
  }
  return inside ? text.substr(begin, end - begin) : text.substr(0, 0);
}

bool has_value(const nlohmann::ordered_json& fields, const char* key) {
  const auto found = fields.find(key);
  if (found == fields.end() || found->is_null()) return false;
  return found->is_string() ? !found->get_ref<const std::string&>().empty() : !found->empty();
}

// What a message of the user is to Qwen3, unless it hands over what a tool said.
bool is_question(const Message& message) {
  return message.role == "user" && !(message.content.starts_with("<tool_response>") && message.content.ends_with("</tool_response>"));
}

class TurnWriter {
 public:
  TurnWriter(const ChatFormat& format, const Conversation& conversation, std::optional<bool> enable_thinking)
      : format_(format), messages_(conversation.messages), enable_thinking_(enable_thinking), shown_(messages_.size(), false) {
    if (!conversation.tools.is_null() && !conversation.tools.empty()) refuse_tools("the conversation offers tools");
    for (size_t i = 0; i < messages_.size(); ++i) check_message(i);
    last_question_ = messages_.size() - 1;
    for (size_t i = messages_.size(); i-- > 0;) {
      if (!is_question(messages_[i])) continue;
      last_question_ = i;
      break;
    }
  }

  Rendering write(bool add_generation_prompt) {
    out_.text = format_.opening;
    write_front();
    for (size_t i = behind_front_; i < messages_.size(); ++i) write_message(i);
    if (add_generation_prompt) {
      out_.text += format_.answer_header + format_.prompt_tail;
      if (format_.thinking == Thinking::kQwen3 && enable_thinking_ == false) out_.text += "<think>\n\n</think>\n\n";
    } else {
      out_.text += format_.closing;
    }
    for (size_t i = 0; i < messages_.size(); ++i) {
      if (!shown_[i] && !is_blank(messages_[i].content)) out_.left_out.push_back(static_cast<int64_t>(i));
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(size_t i, const std::string& rule) const {
    throw DataError(fmt::format("message {} is of role '{}': the chat format {} {}", i + 1, messages_[i].role, format_.name, rule));
  }
  [[noreturn]] void refuse_tools(const std::string& what) const {
    throw DataError(fmt::format("{}, and the chat format {} has no way to write that; train a model whose own template has one (chat_template_path: auto), "
                                "name a .jinja file in chat_template_path, or leave such rows out", what, format_.name));
  }

  void check_message(size_t i) const {
    const Message& message = messages_[i];
    if (message.role == "tool") refuse_tools(fmt::format("message {} is of role 'tool'", i + 1));
    if (has_value(message.fields, "tool_calls")) refuse_tools(fmt::format("message {} calls tools", i + 1));
    if (format_.thinking != Thinking::kQwen3 && has_value(message.fields, "reasoning_content")) {
      throw DataError(fmt::format("message {} has reasoning_content, for which the chat format {} has no place: put it into content, leave the field out, or "
                                  "choose qwen3 in chat_template_path", i + 1, format_.name));
    }
    const size_t first_turn = has_system_in_front() ? 1 : 0;
    if (i < first_turn) return;
    const bool user = message.role == "user";
    if (format_.order == TurnOrder::kAlternating && user != ((i - first_turn) % 2 == 0)) {
      if (message.role == "system") refuse(i, "has no place for a system message here; put its text into the first message of the user");
      refuse(i, fmt::format("wants user and assistant in turns, the user first{}", first_turn > 0 ? " behind the system message" : ""));
    }
    if (user || message.role == "assistant") return;
    const bool system = message.role == "system";
    if (system && (format_.system_place == SystemPlace::kGathered || format_.later_system_header)) return;
    if (format_.other_role == OtherRole::kRefused) {
      refuse(i, fmt::format("knows user and assistant{}", format_.system_place == SystemPlace::kRefused ? " only" : ", and one system message in front"));
    }
  }

  bool has_system_in_front() const {
    return format_.system_place != SystemPlace::kRefused && format_.system_place != SystemPlace::kGathered && messages_.front().role == "system";
  }

  uint32_t size() const { return static_cast<uint32_t>(out_.text.size()); }

  // A part of message i.
  void content(size_t i, std::string_view text) {
    if (text.empty()) return;
    const uint32_t begin = size();
    out_.text += text;
    out_.contents.push_back({begin, size()});
    shown_[i] = true;
  }

  void trimmed(size_t i, bool trim) { content(i, trim ? stripped(messages_[i].content) : std::string_view(messages_[i].content)); }
  bool trims_all() const { return format_.trim == TrimContent::kAll; }

  // White space at the end of what was written since `from` goes. REQUIRES that it begins with something else.
  void trim_end(uint32_t from) {
    out_.text.resize(from + stripped(std::string_view(out_.text).substr(from)).size());
    while (!out_.contents.empty() && out_.contents.back().begin >= size()) out_.contents.pop_back();
    if (!out_.contents.empty()) out_.contents.back().end = std::min(out_.contents.back().end, size());
  }

  void write_front() {
    switch (format_.system_place) {
      case SystemPlace::kInFront:
        if (messages_.front().role != "system") {
          if (format_.default_system) out_.text += format_.system_header + *format_.default_system + format_.system_footer;
          return;
        }
        out_.text += format_.system_header;
        trimmed(0, trims_all());
        out_.text += format_.system_footer;
        behind_front_ = 1;
        return;
      case SystemPlace::kFirstUser:
      case SystemPlace::kLastUser:
        if (messages_.front().role != "system") return;
        pending_system_ = true;
        behind_front_ = 1;
        return;
      case SystemPlace::kGathered: {
        bool first = true;
        for (size_t i = 0; i < messages_.size(); ++i) {
          if (messages_[i].role != "system") continue;
          if (!first) out_.text += "\n\n";
          first = false;
          content(i, messages_[i].content);
        }
        return;
      }
      case SystemPlace::kRefused: return;
    }
  }

  void write_message(size_t i) {
    const std::string& role = messages_[i].role;
    if (role == "user") {
      write_user(i);
    } else if (role == "assistant") {
      write_answer(i);
    } else if (role == "system" && format_.system_place == SystemPlace::kGathered) {
      return;
    } else if (role == "system" && format_.later_system_header) {
      out_.text += *format_.later_system_header;
      trimmed(i, trims_all());
      out_.text += format_.system_footer;
    } else if (format_.other_role == OtherRole::kNamed) {
      const size_t at = format_.other_header.find("{role}");
      out_.text += format_.other_header.substr(0, at) + role + format_.other_header.substr(at + 6);
      trimmed(i, trims_all());
      out_.text += format_.other_footer;
    }
  }

  void write_user(size_t i) {
    out_.text += format_.user_header;
    const bool takes_system = pending_system_ && (format_.system_place == SystemPlace::kFirstUser || i + 1 == messages_.size());
    if (takes_system) {
      pending_system_ = false;
      const uint32_t body = size();
      out_.text += format_.system_header;
      content(0, messages_[0].content);
      out_.text += format_.system_footer;
      content(i, messages_[i].content);
      if (trims_all()) trim_end(body);
    } else {
      trimmed(i, trims_all());
    }
    out_.text += format_.user_footer;
  }

  void write_answer(size_t i) {
    out_.text += format_.answer_header;
    const uint32_t begin = size();
    out_.text += format_.answer_lead;
    write_answer_content(i);
    out_.text += format_.answer_tail + format_.end_of_turn;
    out_.answers.push_back({{begin, size()}, static_cast<int64_t>(i)});
    out_.text += format_.answer_footer;
    if (i + 1 < messages_.size()) out_.text += format_.between;
  }

  void write_answer_content(size_t i) {
    const Message& message = messages_[i];
    switch (format_.thinking) {
      case Thinking::kText: return trimmed(i, format_.trim != TrimContent::kNone);
      case Thinking::kDropped: return content(i, split_thought(message.content).answer);
      case Thinking::kQwen3: return write_qwen3(i);
    }
  }

  void write_qwen3(size_t i) {
    const Message& message = messages_[i];
    Thought thought;
    if (const auto beside = message.fields.find("reasoning_content"); beside != message.fields.end() && beside->is_string()) {
      thought = {beside->get_ref<const std::string&>(), message.content};
    } else {
      thought = split_thought(message.content);
      if (thought.answer.size() != message.content.size()) thought.answer = without_leading_breaks(thought.answer);
    }
    if (i > last_question_ && (i + 1 == messages_.size() || !thought.reasoning.empty())) {
      out_.text += "<think>\n";
      content(i, without_leading_breaks(without_trailing_breaks(thought.reasoning)));
      out_.text += "\n</think>\n\n";
      thought.answer = without_leading_breaks(thought.answer);
    }
    content(i, thought.answer);
  }

  const ChatFormat& format_;
  const std::vector<Message>& messages_;
  const std::optional<bool> enable_thinking_;
  std::vector<bool> shown_;     // [messages] something of it is in the text
  size_t last_question_ = 0;    // Qwen3: answers behind it are thought about; without a question, the last message
  size_t behind_front_ = 0;     // messages that write_front took
  bool pending_system_ = false; // the first message waits for a turn of the user
  Rendering out_;
};

}  // namespace

Rendering render_turns(const ChatFormat& format, const Conversation& conversation, bool add_generation_prompt,
                       std::optional<bool> enable_thinking) {
  if (conversation.messages.empty()) throw DataError("a conversation without messages cannot be written");
  return TurnWriter(format, conversation, enable_thinking).write(add_generation_prompt);
}

}  // namespace nibble::data
