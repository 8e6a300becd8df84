// The interpreter's statements.
#include <fmt/core.h>

#include "data/jinja/functions.h"
#include "data/jinja/interpreter.h"
#include "data/jinja/loop_state.h"
#include "data/jinja/placed.h"
#include "data/jinja/python_text.h"

namespace nibble::data::jinja {
namespace {

// Ends a loop's state when the loop is left, however that happens.
struct LoopEnd {
  std::shared_ptr<LoopState> loop;
  ~LoopEnd() { loop->finish(); }
};

// Writes to another text for as long as it lives.
struct Redirected {
  Redirected(TextBuilder*& place, TextBuilder& out) : place_(place), old_(std::exchange(place, &out)) {}
  ~Redirected() { place_ = old_; }
  Redirected(const Redirected&) = delete;

 private:
  TextBuilder*& place_;
  TextBuilder* old_;
};

}  // namespace

Interpreter::Interpreter(const ParsedTemplate& parsed, std::vector<std::optional<Value>> variables, const RenderOptions& options)
    : parsed_(parsed), variables_(std::move(variables)), environment_{Meter(options.limits), options.now, {}} {}

Interpreter::Scope::Scope(Interpreter& interpreter, Frame* around)
    : interpreter_(interpreter), old_(interpreter.frame_), frame_(std::make_shared<Frame>(around)) {
  interpreter.frame_ = frame_.get();
}

Output Interpreter::run() {
  const Scope scope(*this, nullptr);
  TextBuilder out(environment_.meter);
  const Redirected redirected(out_, out);
  execute(parsed_.body);
  return {std::move(out.bytes()), std::move(out.marks())};
}

Interpreter::Flow Interpreter::execute(const Body& body) {
  for (const auto& statement : body) {
    const Flow flow = execute(*statement);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const Statement& statement) {
  return placed(statement.at, [&] { return std::visit([&](const auto& node) { return execute(node); }, statement.node); });
}

Interpreter::Flow Interpreter::execute(const Data& data) {
  out_->append(data.text);
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const Print& print) {
  const Value value = evaluate(*print.value);
  if (const Text* text = value.text()) out_->append(*text);
  else out_->append(to_text(value, environment_.meter));
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const If& branch) {
  for (const auto& [test, body] : branch.branches) {
    if (truthy(evaluate(*test))) return execute(body);
  }
  return execute(branch.otherwise);
}

Interpreter::Flow Interpreter::execute(const For& loop) {
  std::vector<Value> items = elements(evaluate(*loop.over), environment_.meter);
  std::function<bool(const Value&)> accepts;
  if (loop.test) {
    Frame* around = frame_;
    accepts = [this, &loop, around](const Value& item) {
      const Scope scope(*this, around);
      assign(loop.target, item);
      return truthy(evaluate(*loop.test));
    };
  }
  const LoopEnd end{std::make_shared<LoopState>(std::move(items), std::move(accepts))};
  bool completed = false;  // some turn ran to its end; jinja2 takes the else branch where none did, breaks included
  {
    Scope scope(*this, frame_);
    while (end.loop->advance()) {
      environment_.meter.step();
      scope.frame().variables.clear();
      if (loop.uses_loop) scope.frame().set(parsed_.loop, Value(end.loop));
      assign(loop.target, end.loop->current());
      const Flow flow = execute(loop.body);
      if (flow == Flow::kBreak) break;
      completed |= flow == Flow::kNext;
    }
  }
  if (completed || loop.otherwise.empty()) return Flow::kNext;
  const Scope scope(*this, frame_);
  return execute(loop.otherwise);
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (target.is_tuple) {
    const std::vector<Value> parts = elements(value, environment_.meter);
    if (parts.size() != target.parts.size()) {
      throw Failure(fmt::format("{} values cannot be assigned to {} names", parts.size(), target.parts.size()));
    }
    for (size_t i = 0; i < parts.size(); ++i) assign(target.parts[i], parts[i]);
    return;
  }
  if (target.attribute.empty()) {
    if (environment_.meter.step(); !frame_->find(target.name)) environment_.meter.create(sizeof(Value));
    frame_->set(target.name, value);
    return;
  }
  const Value object = evaluate(Name{target.name});
  const auto* ns = object.get<Namespace*>();
  if (!ns) {
    throw Failure(fmt::format("attributes can be set on namespaces only; '{}' is of type '{}'", parsed_.names[target.name], type_name(object)));
  }
  set_attribute(environment_, **ns, Text(target.attribute), value);
}

Interpreter::Flow Interpreter::execute(const Set& set) {
  assign(set.target, evaluate(*set.value));
  return Flow::kNext;
}

Text Interpreter::execute_to_text(const Body& body, Flow& flow) {
  const Scope scope(*this, frame_);
  TextBuilder out(environment_.meter);
  const Redirected redirected(out_, out);
  flow = execute(body);
  return out.take();
}

Interpreter::Flow Interpreter::execute(const SetBlock& set) {
  Flow flow = Flow::kNext;
  const Text text = execute_to_text(set.body, flow);
  if (flow != Flow::kNext) return flow;
  block_text_ = text;
  assign(set.target, evaluate(*set.value));
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const FilterBlock& block) {
  Flow flow = Flow::kNext;
  const Text text = execute_to_text(block.body, flow);
  if (flow != Flow::kNext) return flow;
  block_text_ = text;
  out_->append(to_text(evaluate(*block.value), environment_.meter));
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const Macro& macro) {
  frame_->set(macro.id, Value(make_macro(macro)));
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const CallBlock& block) {
  const Value caller(make_macro(block.caller));
  out_->append(to_text(call_with_caller(std::get<Call>(block.call->node), caller), environment_.meter));
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const With& with) {
  std::vector<Value> values;  // all evaluated in the scope around
  for (const auto& [target, value] : with.assignments) values.push_back(evaluate(*value));
  const Scope scope(*this, frame_);
  for (size_t i = 0; i < values.size(); ++i) assign(with.assignments[i].first, values[i]);
  return execute(with.body);
}

Interpreter::Flow Interpreter::execute(const Generation& generation) {
  const Scope scope(*this, frame_);
  const TextBuilder::Block block = out_->begin_block();
  const Flow flow = execute(generation.body);
  out_->end_block(block, kGeneration);
  return flow;
}

}  // namespace nibble::data::jinja
