#include "data/answer_spans.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace nibble::data {
namespace {

using std::string_view;

[[noreturn]] void unsure(int64_t message, string_view reason) {
  throw DataError(fmt::format("where the answer of message {} begins and ends in the rendering cannot be told: {}; choose a built-in format in "
                              "chat_template_path, name a template there that has {{% generation %}} blocks, or set assistant_only_loss: false",
                              message + 1, reason));
}

struct Occurrence {
  size_t begin = string_view::npos, end = string_view::npos;
  explicit operator bool() const { return begin != string_view::npos; }
};

// The earliest of these in `text`, the longest of them where several begin there.
Occurrence first_of(string_view text, const std::vector<std::string>& tokens) {
  Occurrence found;
  for (const std::string& token : tokens) {
    const size_t at = text.find(token);
    if (at < found.begin || (at == found.begin && at != text.npos && at + token.size() > found.end)) found = {at, at + token.size()};
  }
  return found;
}

size_t first_mark_of(const MarkedText& rendered, int64_t message) {
  return static_cast<size_t>(std::find(rendered.messages.begin(), rendered.messages.end(), message) - rendered.messages.begin());
}

string_view between(const MarkedText& rendered, uint32_t begin, uint32_t end) { return string_view(rendered.text).substr(begin, end - begin); }

// The template's text in front of mark m.
string_view literal_before(const MarkedText& rendered, size_t m) {
  return between(rendered, m == 0 ? 0 : rendered.marks[m - 1].end, rendered.marks[m].begin);
}

// The template's text behind mark m.
string_view literal_behind(const MarkedText& rendered, size_t m) {
  const auto end = m + 1 < rendered.marks.size() ? rendered.marks[m + 1].begin : static_cast<uint32_t>(rendered.text.size());
  return between(rendered, rendered.marks[m].end, end);
}

// How much of `literal`, which ends where the answer's own text begins, is its header; nullopt: these two do not tell.
std::optional<size_t> header_size(string_view literal, const Tail& asked) {
  if (literal.starts_with(asked.literal)) return asked.literal.size();
  // The prompt goes on with what the template does not keep of an answer (DeepSeek-R1's <think>).
  if (string_view(asked.literal).starts_with(literal)) return literal.size();
  return std::nullopt;
}

std::optional<size_t> header_size(string_view literal, const TurnShape& shape) {
  if (shape.prompt_header.empty() || !literal.ends_with(shape.prompt_header + shape.answer_lead)) return std::nullopt;
  return literal.size() - shape.answer_lead.size();
}

// How much of the text in front of the message's first mark is its header.
size_t find_header(const MarkedText& rendered, int64_t message, size_t first, const TurnShape& shape, const PromptTail& prompt_tail) {
  const string_view literal = literal_before(rendered, first);
  const int32_t origin_before = first == 0 ? jinja::kNoOrigin : rendered.marks[first - 1].origin;
  // A first message has no prompt that every template would write: what is known of its headers comes before.
  if (message == 0) {
    if (const auto size = header_size(literal, shape)) return *size;
  }
  if (const auto asked = prompt_tail(message); asked && asked->origin == origin_before && (message > 0 || !asked->literal.empty())) {
    if (const auto size = header_size(literal, *asked)) return *size;
  }
  if (const auto size = header_size(literal, shape)) return *size;
  unsure(message, "the template asks for it with other text than it then writes in front of it");
}

uint32_t find_end(const MarkedText& rendered, int64_t message, size_t first, const TurnShape& shape) {
  for (size_t m = first; m < rendered.marks.size() && rendered.messages[m] == message; ++m) {
    if (const Occurrence found = first_of(literal_behind(rendered, m), shape.turn_ends)) {
      return rendered.marks[m].end + static_cast<uint32_t>(found.end);
    }
  }
  unsure(message, shape.turn_ends.empty() ? "the template ends answers with no special token of the tokenizer"
                                          : fmt::format("no {} stands behind it before the next message", fmt::join(shape.turn_ends, " or ")));
}

// Blocks in order; each is the answer of the first message that has a text in it, or else of the next one.
std::vector<Answer> answers_of_blocks(const MarkedText& rendered, const std::vector<int64_t>& assistants) {
  std::vector<Answer> answers;
  size_t next = 0;
  for (const Span& block : rendered.generation_blocks) {
    for (size_t m = 0; m < rendered.marks.size(); ++m) {
      if (rendered.marks[m].begin < block.begin || rendered.marks[m].end > block.end) continue;
      const auto found = std::find(assistants.begin(), assistants.end(), rendered.messages[m]);
      if (found == assistants.end()) continue;
      next = static_cast<size_t>(found - assistants.begin());
      break;
    }
    if (assistants.empty()) break;
    answers.push_back({block, assistants[std::min(next, assistants.size() - 1)]});
    ++next;
  }
  return answers;
}

}  // namespace

Tail tail_of(const MarkedText& rendered) {
  if (rendered.marks.empty()) return {rendered.text, jinja::kNoOrigin};
  return {rendered.text.substr(rendered.marks.back().end), rendered.marks.back().origin};
}

std::vector<Answer> find_answers(const MarkedText& rendered, const std::vector<int64_t>& assistants, const TurnShape& shape, const PromptTail& tail,
                                 bool has_generation_blocks) {
  if (has_generation_blocks) return answers_of_blocks(rendered, assistants);
  std::vector<Answer> answers;
  // Answers behind the same text begin in the same place of it: most conversations are asked once.
  std::vector<std::pair<string_view, size_t>> known;
  for (const int64_t message : assistants) {
    const size_t first = first_mark_of(rendered, message);
    if (first == rendered.marks.size()) unsure(message, "the template leaves it out, or writes it changed");
    const string_view literal = literal_before(rendered, first);
    auto header = std::find_if(known.begin(), known.end(), [&](const auto& entry) { return entry.first == literal; });
    if (header == known.end() || message == 0) {
      known.emplace_back(literal, find_header(rendered, message, first, shape, tail));
      header = std::prev(known.end());
    }
    const auto begin = static_cast<uint32_t>(rendered.marks[first].begin - literal.size() + header->second);
    const Span span{begin, find_end(rendered, message, first, shape)};
    if (!answers.empty() && span.begin < answers.back().span.end) unsure(message, "it stands inside another answer");
    answers.push_back({span, message});
  }
  return answers;
}

TurnShape learn_turn_shape(const MarkedText& plain, const PromptTail& plain_tail, const std::string& question, const std::string& prompt,
                           const std::optional<MarkedText>& tool_call, const std::vector<std::string>& specials) {
  TurnShape shape;
  // Messages 0 to 3 of `plain`: question, answer, question, answer.
  size_t marks[4];
  for (int64_t i = 0; i < 4; ++i) {
    marks[i] = first_mark_of(plain, i);
    if (marks[i] == plain.marks.size()) return shape;
  }
  const auto add = [&](string_view end) {
    if (std::find(shape.turn_ends.begin(), shape.turn_ends.end(), end) == shape.turn_ends.end()) shape.turn_ends.emplace_back(end);
  };
  const string_view last = literal_behind(plain, marks[3]), inner = literal_behind(plain, marks[1]);
  const Occurrence last_end = first_of(last, specials), inner_end = first_of(inner, specials);
  if (last_end) add(last.substr(last_end.begin, last_end.end - last_end.begin));
  if (inner_end && last_end) {
    // A token of the next header ends no turn: what stands in front of the first question too is that header.
    const string_view opening = literal_before(plain, marks[0]);
    size_t shared = 0;
    while (shared < std::min(opening.size(), inner.size()) && opening[opening.size() - 1 - shared] == inner[inner.size() - 1 - shared]) ++shared;
    if (inner_end.begin < inner.size() - shared) add(inner.substr(inner_end.begin, inner_end.end - inner_end.begin));
  }
  if (tool_call && !shape.turn_ends.empty()) {
    // What a text that ends with a tool call ends with, white space aside.
    string_view tail = tool_call->text;
    tail = tail.substr(0, tail.find_last_not_of(" \t\r\n") + 1);
    const auto ending = std::find_if(specials.begin(), specials.end(), [&](const std::string& token) { return tail.ends_with(token); });
    if (ending != specials.end()) add(*ending);
  }
  const size_t same = static_cast<size_t>(std::mismatch(question.begin(), question.end(), prompt.begin(), prompt.end()).second - prompt.begin());
  shape.prompt_header = prompt.substr(same);
  const string_view before = literal_before(plain, marks[1]);
  if (const auto asked = plain_tail(1); asked && asked->origin == plain.marks[marks[1] - 1].origin) {
    if (const auto size = header_size(before, *asked)) shape.answer_lead = before.substr(*size);
  }
  return shape;
}

}  // namespace nibble::data
