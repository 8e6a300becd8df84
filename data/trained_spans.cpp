#include "data/trained_spans.h"

namespace nibble::data {

bool trains_on_completion_only(const EncodeRules& rules) {
  switch (rules.completion_only_loss) {
    case AutoSwitch::kAuto: return rules.assistant_only_loss;
    case AutoSwitch::kTrue: return true;
    case AutoSwitch::kFalse: return false;
  }
  return true;
}

std::vector<Span> trained_spans(const Rendering& rendering, const MessagesRow& row, const EncodeRules& rules) {
  const bool has_prompt = row.completion >= 0;
  const bool completion_only = has_prompt && trains_on_completion_only(rules);
  const bool everything = !completion_only && !rules.assistant_only_loss;
  std::vector<Span> spans;
  uint32_t done = 0;  // where everything is trained on: up to here it is decided
  for (size_t i = 0; i < rendering.answers.size(); ++i) {
    const Answer& answer = rendering.answers[i];
    bool wanted = !completion_only || answer.message >= row.completion;
    if (rules.train_on_last_turn_only && i + 1 < rendering.answers.size()) wanted = false;
    const auto& flag = row.conversation.messages.at(static_cast<size_t>(answer.message)).train;
    wanted = flag.value_or(wanted);
    if (!everything && wanted) spans.push_back(answer.span);
    if (everything && !wanted) {
      if (answer.span.begin > done) spans.push_back({done, answer.span.begin});
      done = answer.span.end;
    }
  }
  const auto size = static_cast<uint32_t>(rendering.text.size());
  if (everything && size > done) spans.push_back({done, size});
  return spans;
}

}  // namespace nibble::data
