// <think>...</think> in an answer, apart from the answer itself, as the templates of Qwen3 and DeepSeek-R1 cut it.
#pragma once

#include <string_view>

namespace nibble::data {

struct Thought {
  std::string_view reasoning;  // without the line breaks around it; "": none
  std::string_view answer;     // what stands behind the last </think>; without one, everything
};

// Views into `content`.
Thought split_thought(std::string_view content);

std::string_view without_leading_breaks(std::string_view text);
std::string_view without_trailing_breaks(std::string_view text);

}  // namespace nibble::data
