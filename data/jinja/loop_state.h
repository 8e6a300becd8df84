// What `loop` is inside a for loop.
//
// Elements are taken one at a time and tested only then, because a loop's body may change what its test looks at;
// asking for loop.last or loop.nextitem looks one element ahead, loop.length at all of them.
#pragma once

#include <functional>
#include <optional>

#include "data/jinja/arguments.h"

namespace nibble::data::jinja {

class LoopState {
 public:
  // accepts: the loop's test; empty: there is none.
  LoopState(std::vector<Value> items, std::function<bool(const Value&)> accepts)
      : items_(std::move(items)), accepts_(std::move(accepts)) {}

  bool advance();  // to the next element; false: there is none
  const Value& current() const { return *current_; }
  // Drops all values; after the loop, so that none of them can hold the loop itself.
  void finish();

 private:
  friend Value loop_attribute(const std::shared_ptr<LoopState>& loop, std::string_view name);
  friend Value call_loop_method(const LoopMethod& method, const Arguments& arguments, Meter& meter);

  void look_ahead();
  int64_t length();
  bool accepts(const Value& item);   // THROWS Failure where the test itself asks for the loop
  void require_no_test_running() const;

  std::vector<Value> items_;
  std::function<bool(const Value&)> accepts_;
  bool testing_ = false;
  size_t next_ = 0;
  int64_t index0_ = -1;
  std::optional<Value> before_, current_, after_;
  std::optional<std::vector<Value>> changed_;  // what loop.changed was asked last
};

// loop.index, loop.last, ...; undefined where the loop has no such attribute.
Value loop_attribute(const std::shared_ptr<LoopState>& loop, std::string_view name);

// loop.cycle(...), loop.changed(...).
Value call_loop_method(const LoopMethod& method, const Arguments& arguments, Meter& meter);

}  // namespace nibble::data::jinja
