// The interpreter's calls: arguments, methods, functions and macros.
#include <fmt/core.h>

#include "data/jinja/functions.h"
#include "data/jinja/interpreter.h"
#include "data/jinja/loop_state.h"
#include "data/jinja/methods.h"
#include "data/jinja/placed.h"
#include "data/jinja/subscript.h"

namespace nibble::data::jinja {

Arguments Interpreter::evaluate_arguments(const CallArguments& arguments) {
  Arguments out;
  out.positional.reserve(arguments.positional.size());
  for (const ExpressionPtr& argument : arguments.positional) out.positional.push_back(evaluate(*argument));
  for (const auto& [name, argument] : arguments.keywords) out.keywords.emplace_back(name, evaluate(*argument));
  if (arguments.more_positional) {
    for (Value& value : elements(evaluate(*arguments.more_positional), environment_.meter)) out.positional.push_back(std::move(value));
  }
  if (arguments.more_keywords) {
    out.kept = evaluate(*arguments.more_keywords);
    const Dict* dict = out.kept.dict();
    if (!dict) throw Failure("** needs a dictionary");
    for (const auto& [key, value] : dict->items()) {
      if (!key.text()) throw Failure("** needs a dictionary whose keys are strings");
      environment_.meter.step(static_cast<int64_t>(1 + out.keywords.size() / 8));
      for (const auto& [name, other] : out.keywords) {
        if (name == key.text()->bytes()) throw Failure(fmt::format("the argument '{}' is given twice", name));
      }
      out.keywords.emplace_back(key.text()->bytes(), value);
    }
  }
  return out;
}

Value Interpreter::evaluate(const Call& call) {
  const Attribute* attribute = std::get_if<Attribute>(&call.callee->node);
  if (!attribute) {
    const Value callee = evaluate(*call.callee);
    return this->call(callee, evaluate_arguments(call.arguments));
  }
  // A method of a string, a list or a dictionary is called without being made a value first.
  const Value object = evaluate(*attribute->object);
  const Method* method = object.text() ? attribute->of_string : find_method(object, attribute->name);
  if (method) return call_method(environment_, *method, object, evaluate_arguments(call.arguments));
  const Value callee = attribute_of(environment_, object, attribute->name);
  return this->call(callee, evaluate_arguments(call.arguments));
}

Value Interpreter::call(const Value& callee, Arguments arguments) {
  if (const auto* global = callee.get<Global>()) return call_global(environment_, *global, arguments);
  if (const auto* macro = callee.get<const MacroValue*>()) return call_macro(**macro, std::move(arguments));
  if (const auto* method = callee.get<LoopMethod>()) return call_loop_method(*method, arguments, environment_.meter);
  if (const auto* bound = callee.get<std::shared_ptr<const BoundMethod>>()) {
    return call_method(environment_, *(*bound)->method, (*bound)->self, arguments);
  }
  require_defined(callee);
  if (callee.get<std::shared_ptr<LoopState>>()) throw Failure("recursive loops are not supported; write a macro that calls itself");
  throw Failure(fmt::format("a value of type '{}' cannot be called", type_name(callee)));
}

const MacroValue* Interpreter::make_macro(const Macro& macro) {
  // The macro looks into these scopes whenever it is called, also when they are long left.
  for (Frame* frame = frame_; frame; frame = frame->parent) {
    const bool known = !kept_.empty() && kept_.back().get() == frame;
    if (!known) kept_.push_back(frame->shared_from_this());
  }
  environment_.meter.create(sizeof(MacroValue) + sizeof(Frame));
  return &macros_.emplace_back(MacroValue{&macro, frame_});
}

Value Interpreter::call_with_caller(const Call& call, const Value& caller) {
  const Value callee = evaluate(*call.callee);
  Arguments arguments = evaluate_arguments(call.arguments);
  arguments.keywords.emplace_back("caller", caller);
  return this->call(callee, std::move(arguments));
}

Value Interpreter::call_macro(const MacroValue& value, Arguments arguments) {
  const Macro& macro = *value.macro;
  const std::string_view name = macro.name.empty() ? "caller" : macro.name;
  Scope scope(*this, value.frame);
  Frame& frame = scope.frame();
  std::vector<std::pair<std::string_view, Value>>& keywords = arguments.keywords;
  const auto take_keyword = [&](std::string_view wanted) -> std::optional<Value> {
    for (auto& entry : keywords) {
      if (entry.first != wanted) continue;
      std::optional<Value> found = std::move(entry.second);
      keywords.erase(keywords.begin() + (&entry - keywords.data()));
      return found;
    }
    return std::nullopt;
  };
  std::vector<std::optional<Value>> given(macro.parameters.size());
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    if (i < arguments.positional.size()) given[i] = arguments.positional[i];
    else given[i] = take_keyword(macro.parameters[i].name);
  }
  if (macro.uses_caller) {
    const auto caller = take_keyword("caller");
    frame.set(parsed_.caller, caller && !caller->is_none() ? *caller : Value(Undefined{"no caller is defined", "", Undefined::Reason::kOther}));
  }
  if (macro.uses_kwargs) {
    Dict rest;
    for (const auto& [key, argument] : keywords) rest.set(Value(made_text(std::string(key), environment_.meter)), argument, environment_.meter);
    frame.set(parsed_.kwargs, make_dict(std::move(rest), environment_.meter));
  } else if (!keywords.empty()) {
    throw Failure(fmt::format("the macro {} has no argument named '{}'", name, keywords[0].first));
  }
  const size_t positional = std::min(arguments.positional.size(), macro.parameters.size());
  if (macro.uses_varargs) {
    std::vector<Value> rest(arguments.positional.begin() + static_cast<std::ptrdiff_t>(positional), arguments.positional.end());
    frame.set(parsed_.varargs, make_sequence(SequenceKind::kTuple, std::move(rest), environment_.meter));
  } else if (arguments.positional.size() > positional) {
    throw Failure(fmt::format("the macro {} takes at most {} argument(s), but {} are given", name, macro.parameters.size(),
                              arguments.positional.size()));
  }
  // Defaults are evaluated in the macro's own scope, in order: one may use the parameters before it.
  for (size_t i = 0; i < given.size(); ++i) {
    const Macro::Parameter& parameter = macro.parameters[i];
    if (given[i]) frame.set(parameter.id, *std::move(given[i]));
    else if (parameter.standard) frame.set(parameter.id, evaluate(*parameter.standard));
    else frame.set(parameter.id, Value(Undefined{parameter.name, "", Undefined::Reason::kParameter}));
  }
  environment_.meter.create(sizeof(Frame) + frame.variables.size() * sizeof(Value));
  TextBuilder out(environment_.meter);
  TextBuilder* const outer = std::exchange(out_, &out);
  struct Restore {
    TextBuilder*& place;
    TextBuilder* outer;
    ~Restore() { place = outer; }
  } restore{out_, outer};
  execute(macro.body);
  return Value(out.take());
}

}  // namespace nibble::data::jinja
