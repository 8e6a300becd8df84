// A conversation as text, with what is to be known of its bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/regex.h"

namespace nibble::data {

// What a model has to write of one message of the assistant: from the first byte behind its header to the end of its
// end-of-turn text, that included, a line break behind it not.
struct Answer {
  Span span;            // bytes of the rendering
  int64_t message = 0;  // its index in the conversation
};

struct Rendering {
  std::string text;
  std::vector<Answer> answers;    // in order, disjoint; of every message of the assistant, learned or not
  std::vector<Span> contents;     // what came out of the row, in order, disjoint, not empty; the rest the template wrote
  std::vector<int64_t> left_out;  // messages with a text of which nothing is in the rendering: the template's own rule
};

}  // namespace nibble::data
