#include "trainer/prompt_lookup.h"

#include <algorithm>

namespace nibble::trainer {
namespace {

constexpr int64_t kShortest = 2, kLongest = 4;  // tokens that a place must have in common with the text's end, and that are compared
constexpr int64_t kLongestPause = 32;

}  // namespace

PromptLookup::PromptLookup(std::span<const int32_t> text, int64_t most) : text_(text.begin(), text.end()), most_(most), length_(most) {}

std::vector<int32_t> PromptLookup::draft(int64_t room) {
  if (paused_ > 0) {
    --paused_;
    return {};
  }
  const int64_t wanted = std::min(length_, room), size = static_cast<int64_t>(text_.size());
  if (wanted <= 0) return {};
  const auto at = [&](int64_t i) { return text_[static_cast<size_t>(i)]; };
  int64_t best = 0, best_end = 0;
  for (int64_t end = size - 1; end >= kShortest && best < kLongest; --end) {
    int64_t common = 0;
    while (common < std::min(kLongest, end) && at(end - 1 - common) == at(size - 1 - common)) ++common;
    if (common > best) {
      best = common;
      best_end = end;
    }
  }
  if (best < kShortest) return {};
  // A place near the end has fewer tokens after it than are wanted: what repeats there goes on repeating.
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < wanted; ++i) tokens.push_back(at(best_end + i % (size - best_end)));
  return tokens;
}

void PromptLookup::judge(int64_t drafted, int64_t accepted) {
  if (drafted == 0) return;
  if (accepted == 0) {
    pause_ = std::min(2 * pause_ + 1, kLongestPause);
    paused_ = pause_;
    length_ = std::min<int64_t>(most_, 2);
    return;
  }
  pause_ = 0;
  length_ = accepted == drafted ? std::min(most_, std::max(length_, 2 * drafted)) : accepted + 1;
}

}  // namespace nibble::trainer
