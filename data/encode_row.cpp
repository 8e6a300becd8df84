#include "data/encode_row.h"

#include <fmt/core.h>

#include "core/error.h"
#include "data/row_warnings.h"
#include "data/trained_spans.h"

namespace nibble::data {
namespace {

// Labels by where tokens begin; trained spans are sorted and disjoint.
Sample label_by_spans(Encoding encoding, const std::vector<Span>& trained) {
  Sample sample;
  sample.labels = encoding.ids;
  sample.ids = std::move(encoding.ids);
  size_t span = 0;
  for (size_t i = 0; i < sample.ids.size(); ++i) {
    while (span < trained.size() && trained[span].end <= encoding.starts[i]) ++span;
    if (span == trained.size() || encoding.starts[i] < trained[span].begin) sample.labels[i] = kIgnoredLabel;
  }
  return sample;
}

uint32_t size_of(const std::string& text) { return static_cast<uint32_t>(text.size()); }

struct RowEncoder {
  const EncodeRules& rules;
  const Tokenizer& tokenizer;

  // A text with what the tokenizer puts around it and EOS behind, that beginning at the text's end. `warnings`: of two BOS.
  Encoding whole_text(const std::string& text, std::vector<RowWarning>& warnings) const {
    if (tokenizer.eos_id() < 0) {
      throw ConfigError("a text ends with the tokenizer's EOS token, but this tokenizer names none; add \"eos_token\" to "
                        "tokenizer_config.json");
    }
    Encoding encoding = tokenizer.encode_with_starts(text, true);
    make_bos_single(tokenizer, encoding.ids, encoding.starts, warnings);
    if (encoding.ids.empty() || encoding.ids.back() != tokenizer.eos_id()) {  // some tokenizers add it themselves
      encoding.ids.push_back(tokenizer.eos_id());
      encoding.starts.push_back(size_of(text));
    }
    return encoding;
  }

  void require_completion(const char* schema) const {
    if (rules.completion_only_loss != AutoSwitch::kTrue) return;
    throw ConfigError(fmt::format("completion_only_loss: true is for prompt-completion rows, and these are {} rows: see assistant_only_loss", schema));
  }

  Sample conversation(const MessagesRow& row) const {
    const Rendering rendering = render(*rules.chat, row.conversation, false);
    const std::span<const Span> plain = rendering.contents;
    Encoding encoding = tokenizer.encode_with_starts(rendering.text, false, rules.split_special_tokens ? plain : plain.first(0));
    std::vector<RowWarning> warnings;
    warn_of_special_text(tokenizer, encoding.refused, warnings);
    warn_of_left_out(rendering, row.conversation, warnings);
    make_bos_single(tokenizer, encoding.ids, encoding.starts, warnings);
    Sample sample = label_by_spans(std::move(encoding), trained_spans(rendering, row, rules));
    sample.warnings = std::move(warnings);
    // With everything trained on, a line break may follow the end of the last turn.
    if (rules.assistant_only_loss) warn_of_no_end(tokenizer, sample);
    return sample;
  }

  Sample operator()(const MessagesRow& row) const {
    if (row.completion < 0) require_completion("conversation");
    return conversation(row);
  }
  Sample operator()(const AlpacaRow& row) const {
    require_completion("alpaca");
    MessagesRow said;
    std::vector<Message>& messages = said.conversation.messages;
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
    return conversation(said);
  }
  Sample operator()(const TextRow& row) const {
    require_completion("text");
    std::vector<RowWarning> warnings;
    Encoding encoding = whole_text(row.text, warnings);
    std::vector<int32_t> labels = encoding.ids;
    return {std::move(encoding.ids), std::move(labels), std::move(warnings)};
  }
  Sample operator()(const PromptCompletionRow& row) const {
    const std::string text = row.prompt + row.completion;
    std::vector<RowWarning> warnings;
    Encoding encoding = whole_text(text, warnings);
    const bool completion_only = trains_on_completion_only(rules);
    const std::vector<Span> trained{{completion_only ? size_of(row.prompt) : 0, size_of(text) + 1}};  // the end: of EOS
    Sample sample = label_by_spans(std::move(encoding), trained);
    // What the tokenizer puts in front begins at byte 0 as the text does, but is never part of the completion.
    if (completion_only && tokenizer.adds_bos() && !sample.labels.empty()) sample.labels[0] = kIgnoredLabel;
    sample.warnings = std::move(warnings);
    return sample;
  }
  Sample operator()(const SegmentsRow& row) const {
    require_completion("segments");
    std::string text;
    std::vector<Span> trained;
    for (const auto& segment : row.segments) {
      const uint32_t begin = size_of(text);
      text += segment.text;
      if (segment.label || !rules.assistant_only_loss) trained.push_back({begin, size_of(text)});
    }
    Encoding encoding = tokenizer.encode_with_starts(text, false);
    std::vector<RowWarning> warnings;
    make_bos_single(tokenizer, encoding.ids, encoding.starts, warnings);
    Sample sample = label_by_spans(std::move(encoding), trained);
    sample.warnings = std::move(warnings);
    if (rules.assistant_only_loss) warn_of_no_end(tokenizer, sample);
    return sample;
  }
  Sample operator()(const PretokenizedRow& row) const {
    require_completion("pretokenized");
    Sample sample{row.ids, row.labels};
    make_bos_single(tokenizer, sample.ids, sample.labels, sample.warnings);
    if (row.has_labels) warn_of_labels(tokenizer, sample);
    return sample;
  }
};

}  // namespace

Sample encode_row(const RowContent& row, const EncodeRules& rules, const Tokenizer& tokenizer) {
  return std::visit(RowEncoder{rules, tokenizer}, row);
}

}  // namespace nibble::data
