#include "data/think_block.h"

namespace nibble::data {
namespace {

constexpr std::string_view kBegin = "<think>", kEnd = "</think>";

}  // namespace

std::string_view without_leading_breaks(std::string_view text) {
  const size_t first = text.find_first_not_of('\n');
  return first == text.npos ? text.substr(text.size()) : text.substr(first);
}

std::string_view without_trailing_breaks(std::string_view text) { return text.substr(0, text.find_last_not_of('\n') + 1); }

Thought split_thought(std::string_view content) {
  const size_t first_end = content.find(kEnd);
  if (first_end == content.npos) return {content.substr(0, 0), content};
  Thought thought;
  thought.answer = content.substr(content.rfind(kEnd) + kEnd.size());
  std::string_view reasoning = without_trailing_breaks(content.substr(0, first_end));
  if (const size_t begin = reasoning.rfind(kBegin); begin != reasoning.npos) reasoning.remove_prefix(begin + kBegin.size());
  thought.reasoning = without_leading_breaks(reasoning);
  return thought;
}

}  // namespace nibble::data
