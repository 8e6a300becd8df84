// A change under a run that was allowed by name when it was resumed (train and resume --allow-changed).
#pragma once

#include <cstdint>
#include <string>

namespace nibble::trainer {

struct RunChange {
  int64_t step = 0;    // optimizer steps made before it
  std::string what;    // a configuration key, or "base", "data", "tokenizer"
  std::string before;  // the value; of base, data and tokenizer the hash
  std::string now;

  template <class Change, class Visitor>
  static void describe(Change& change, Visitor& visit) {
    visit("step", change.step);
    visit("what", change.what);
    visit("before", change.before);
    visit("now", change.now);
  }
};

}  // namespace nibble::trainer
