#include "data/row_warnings.h"

#include <fmt/core.h>

#include <algorithm>

namespace nibble::data {
namespace {

std::string quoted(const Tokenizer& tokenizer, int32_t id) { return fmt::format("'{}'", tokenizer.token(id)); }

}  // namespace

void warn_of_special_text(const Tokenizer& tokenizer, std::span<const int32_t> refused, std::vector<RowWarning>& warnings) {
  constexpr size_t kNamed = 3;
  if (refused.empty()) return;
  std::vector<int32_t> distinct;
  for (const int32_t id : refused) {
    if (distinct.size() <= kNamed && std::find(distinct.begin(), distinct.end(), id) == distinct.end()) distinct.push_back(id);
  }
  std::string names;
  for (size_t i = 0; i < std::min(distinct.size(), kNamed); ++i) names += (i == 0 ? "" : ", ") + quoted(tokenizer, distinct[i]);
  if (distinct.size() > kNamed) names += ", ...";
  warnings.push_back({RowWarning::Kind::kSpecialText, fmt::format("the text of a message holds the name of a special token ({}): it is read as plain characters", names)});
}

void warn_of_left_out(const Rendering& rendering, const Conversation& conversation, std::vector<RowWarning>& warnings) {
  if (rendering.left_out.empty()) return;
  const auto first = static_cast<size_t>(rendering.left_out.front());
  const size_t more = rendering.left_out.size() - 1;
  warnings.push_back({RowWarning::Kind::kLeftOut, fmt::format("the chat template leaves out message {} (of role {}){}", first + 1, conversation.messages.at(first).role,
                                                              more > 0 ? fmt::format(" and {} more", more) : "")});
}

void warn_of_no_end(const Tokenizer& tokenizer, Sample& sample) {
  const auto last = std::find_if(sample.labels.rbegin(), sample.labels.rend(), [](int32_t label) { return label != kIgnoredLabel; });
  if (last == sample.labels.rend() || tokenizer.is_special(*last) || *last == tokenizer.eos_id()) return;
  sample.warnings.push_back({RowWarning::Kind::kNoEndOfTurn, fmt::format("the last token that is learned is {}, no end of a turn: this row does not teach "
                                                                         "the model to stop", quoted(tokenizer, *last))});
}

void warn_of_labels(const Tokenizer& tokenizer, Sample& sample) {
  const int32_t eos = tokenizer.eos_id();
  if (std::find(sample.labels.begin(), sample.labels.end(), kIgnoredLabel) == sample.labels.end()) return;
  for (size_t i = 1; i < sample.ids.size(); ++i) {
    // Behind an EOS that is learned, further ones are padding.
    if (sample.ids[i] != eos || sample.labels[i] != kIgnoredLabel || sample.labels[i - 1] == kIgnoredLabel || sample.ids[i - 1] == eos) continue;
    const bool is_pad = eos == tokenizer.pad_id();
    sample.warnings.push_back({RowWarning::Kind::kEosMasked, fmt::format("labels[{}] masks {}, which follows what is learned{}: this row does not teach the "
                                                                         "model to stop", i, quoted(tokenizer, eos),
                                                                         is_pad ? " (it is also the padding token: was it masked as padding?)" : "")});
    return;
  }
  warn_of_no_end(tokenizer, sample);
}

}  // namespace nibble::data
