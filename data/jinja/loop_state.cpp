#include "data/jinja/loop_state.h"

#include "data/jinja/compare.h"

namespace nibble::data::jinja {

// A loop that is stored in a namespace can be asked from within its own test, in the middle of a step.
void LoopState::require_no_test_running() const {
  if (testing_) throw Failure("the test of a loop cannot ask for the loop's length or next element");
}

bool LoopState::accepts(const Value& item) {
  if (!accepts_) return true;
  struct Testing {
    bool& flag;
    explicit Testing(bool& f) : flag(f) { flag = true; }
    ~Testing() { flag = false; }
  } testing(testing_);
  return accepts_(item);
}

void LoopState::look_ahead() {
  require_no_test_running();
  while (!after_ && next_ < items_.size()) {
    const Value& item = items_[next_++];
    if (accepts(item)) after_ = item;
  }
}

bool LoopState::advance() {
  look_ahead();
  if (!after_) return false;
  before_ = std::exchange(current_, std::exchange(after_, std::nullopt));
  ++index0_;
  return true;
}

void LoopState::finish() {
  items_.clear();
  accepts_ = nullptr;
  next_ = 0;
  before_ = current_ = after_ = std::nullopt;
  changed_ = std::nullopt;
}

int64_t LoopState::length() {
  require_no_test_running();
  if (accepts_) {
    std::vector<Value> rest;
    for (; next_ < items_.size(); ++next_) {
      if (accepts(items_[next_])) rest.push_back(items_[next_]);
    }
    items_ = std::move(rest);
    next_ = 0;
    accepts_ = nullptr;
  }
  return index0_ + 1 + (after_ ? 1 : 0) + static_cast<int64_t>(items_.size() - next_);
}

Value loop_attribute(const std::shared_ptr<LoopState>& loop, std::string_view name) {
  if (name == "index") return Value(loop->index0_ + 1);
  if (name == "index0") return Value(loop->index0_);
  if (name == "first") return Value(loop->index0_ == 0);
  if (name == "last") {
    loop->look_ahead();
    return Value(!loop->after_);
  }
  if (name == "length") return Value(loop->length());
  if (name == "revindex") return Value(loop->length() - loop->index0_);
  if (name == "revindex0") return Value(loop->length() - loop->index0_ - 1);
  if (name == "previtem") {
    if (loop->before_) return *loop->before_;
    return Undefined{"there is no previous item in the loop", "", Undefined::Reason::kOther};
  }
  if (name == "nextitem") {
    loop->look_ahead();
    if (loop->after_) return *loop->after_;
    return Undefined{"there is no next item in the loop", "", Undefined::Reason::kOther};
  }
  if (name == "depth") return Value(int64_t{1});
  if (name == "depth0") return Value(int64_t{0});
  if (name == "cycle") return Value(LoopMethod{LoopMethod::Kind::kCycle, loop});
  if (name == "changed") return Value(LoopMethod{LoopMethod::Kind::kChanged, loop});
  return Undefined{name, "loop", Undefined::Reason::kAttribute};
}

Value call_loop_method(const LoopMethod& method, const Arguments& arguments, Meter& meter) {
  if (!arguments.keywords.empty()) throw Failure("loop.cycle and loop.changed take no arguments with names");
  const std::vector<Value>& values = arguments.positional;
  LoopState& loop = *method.loop;
  if (method.kind == LoopMethod::Kind::kCycle) {
    if (values.empty()) throw Failure("loop.cycle needs values to cycle through");
    if (loop.index0_ < 0) throw Failure("the loop is over");
    return values[static_cast<size_t>(loop.index0_) % values.size()];
  }
  bool same = loop.changed_ && loop.changed_->size() == values.size();
  for (size_t i = 0; same && i < values.size(); ++i) same = equal((*loop.changed_)[i], values[i], meter);
  if (!same && loop.current_) loop.changed_ = values;  // a loop that is over keeps nothing
  return Value(!same);
}

}  // namespace nibble::data::jinja
