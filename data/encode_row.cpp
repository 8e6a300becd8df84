#include "data/encode_row.h"

#include "core/error.h"

namespace nibble::data {
namespace {

// Labels by where tokens begin; trained spans are sorted and disjoint.
Sample label_by_spans(Encoding encoding, const std::vector<Span>& trained, bool assistant_only) {
  Sample sample;
  sample.labels = encoding.ids;
  sample.ids = std::move(encoding.ids);
  if (!assistant_only) return sample;
  size_t span = 0;
  for (size_t i = 0; i < sample.ids.size(); ++i) {
    while (span < trained.size() && trained[span].end <= encoding.starts[i]) ++span;
    if (span == trained.size() || encoding.starts[i] < trained[span].begin) sample.labels[i] = kIgnoredLabel;
  }
  return sample;
}

void append_eos(const Tokenizer& tokenizer, Encoding& encoding, size_t text_bytes) {
  if (tokenizer.eos_id() < 0) {
    throw ConfigError("a text ends with the tokenizer's EOS token, but this tokenizer names none; add \"eos_token\" to "
                      "tokenizer_config.json");
  }
  if (!encoding.ids.empty() && encoding.ids.back() == tokenizer.eos_id()) return;  // the tokenizer adds it itself
  encoding.ids.push_back(tokenizer.eos_id());
  encoding.starts.push_back(static_cast<uint32_t>(text_bytes));
}

// A text that was exported with its BOS would get a second one.
void drop_doubled_bos(const Tokenizer& tokenizer, Encoding& encoding) {
  const auto& ids = encoding.ids;
  if (tokenizer.adds_bos() && ids.size() > 1 && ids[0] == tokenizer.bos_id() && ids[1] == ids[0]) {
    encoding.ids.erase(encoding.ids.begin());
    encoding.starts.erase(encoding.starts.begin());
  }
}

struct RowEncoder {
  const EncodeRules& rules;
  const Tokenizer& tokenizer;

  Sample conversation(const Conversation& said) const {
    const Rendering rendering = render(*rules.chat, said, false);
    std::vector<Span> trained;
    for (const Answer& answer : rendering.answers) trained.push_back(answer.span);
    return label_by_spans(tokenizer.encode_with_starts(rendering.text, false), trained, rules.assistant_only_loss);
  }
  Sample operator()(const MessagesRow& row) const { return conversation(row.conversation); }
  Sample operator()(const AlpacaRow& row) const {
    std::vector<Message> messages;
    for (const auto& [question, answer] : row.history) {
      messages.push_back({"user", question});
      messages.push_back({"assistant", answer});
    }
    const auto last = alpaca_messages(*rules.chat, row.instruction, row.input, row.output);
    // The wording that comes with an input stands in front of the whole conversation.
    const bool worded = last.front().role == "system";
    messages.insert(messages.end(), last.begin() + worded, last.end());
    if (!row.system.empty()) {
      messages.insert(messages.begin(), {"system", row.system});
    } else if (worded) {
      messages.insert(messages.begin(), last.front());
    }
    return conversation({std::move(messages)});
  }
  Sample operator()(const TextRow& row) const {
    Encoding encoding = tokenizer.encode_with_starts(row.text, true);
    drop_doubled_bos(tokenizer, encoding);
    append_eos(tokenizer, encoding, row.text.size());
    return label_by_spans(std::move(encoding), {}, false);
  }
  Sample operator()(const PromptCompletionRow& row) const {
    const std::string text = row.prompt + row.completion;
    Encoding encoding = tokenizer.encode_with_starts(text, true);
    drop_doubled_bos(tokenizer, encoding);
    // What the tokenizer puts in front begins at byte 0 as the text does, but is never part of the completion.
    const size_t in_front = tokenizer.adds_bos() ? 1 : 0;
    append_eos(tokenizer, encoding, text.size());
    const auto begin = static_cast<uint32_t>(row.prompt.size());
    Sample sample = label_by_spans(std::move(encoding), {{begin, static_cast<uint32_t>(text.size()) + 1}}, rules.assistant_only_loss);
    if (rules.assistant_only_loss && in_front > 0 && !sample.labels.empty()) sample.labels[0] = kIgnoredLabel;
    return sample;
  }
  Sample operator()(const PretokenizedRow& row) const { return {row.ids, row.labels}; }
};

}  // namespace

bool needs_template(RowSchema schema) {
  switch (schema) {
    case RowSchema::kAlpaca:
    case RowSchema::kMessages:
    case RowSchema::kShareGpt: return true;
    case RowSchema::kText:
    case RowSchema::kPretokenized:
    case RowSchema::kPromptCompletion: return false;
  }
  return false;
}

Sample encode_row(const RowContent& row, const EncodeRules& rules, const Tokenizer& tokenizer) {
  return std::visit(RowEncoder{rules, tokenizer}, row);
}

}  // namespace nibble::data
