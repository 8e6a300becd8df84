// What one rendering may use. Templates come from the same places as models do, so a hostile one has to end in an
// error: without these bounds a few lines of Jinja run for ever or double a string until memory is gone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "data/jinja/failure.h"

namespace nibble::data::jinja {

struct Limits {
  int64_t steps = 20'000'000;                // evaluated expressions and statements; long strings count by their length
  int64_t output_bytes = int64_t{64} << 20;  // of the rendering, and of any string made on the way
  int64_t created_bytes = int64_t{512} << 20;  // of all strings and lists made, dropped ones included
  int nesting = 600;                           // expressions, statements and macros inside each other
};

// Counts down what is left of the limits of one rendering. THROWS Failure when something is used up.
class Meter {
 public:
  explicit Meter(const Limits& limits) : limits_(limits), steps_(limits.steps), bytes_(limits.created_bytes) {}

  void step(int64_t count = 1) {
    if ((steps_ -= count) < 0) throw Failure("the template takes too many steps; is there a loop without an end?");
  }

  // Before `bytes` are made; also counts as steps, a step for 64 bytes.
  void create(size_t bytes) {
    if (bytes > static_cast<size_t>(limits_.output_bytes))
      throw Failure("the template makes a text or list that is too large");
    if ((bytes_ -= static_cast<int64_t>(bytes)) < 0) throw Failure("the template makes too many large texts or lists");
    step(static_cast<int64_t>(bytes / 64));
  }

  // Before a text of `bytes` is read through.
  void scan(size_t bytes) { step(static_cast<int64_t>(bytes / 64)); }

  const Limits& limits() const { return limits_; }

 private:
  Limits limits_;
  int64_t steps_;
  int64_t bytes_;
};

}  // namespace nibble::data::jinja
