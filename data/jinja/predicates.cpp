#include "data/jinja/predicates.h"

#include <fmt/core.h>

#include <algorithm>

#include "data/jinja/ast.h"
#include "data/jinja/compare.h"
#include "data/jinja/filters.h"
#include "data/jinja/loop_state.h"
#include "data/jinja/methods.h"
#include "data/jinja/operators.h"
#include "data/jinja/python_text.h"

namespace nibble::data::jinja {
namespace {

// A test without arguments.
template <bool (*holds)(const Value&)>
bool plain(Environment&, const Value& operand, const Arguments& arguments) {
  bind_none("the test", arguments);
  return holds(operand);
}

bool is_defined(const Value& v) { return !v.is_undefined(); }
bool is_undefined(const Value& v) { return v.is_undefined(); }
bool is_none(const Value& v) { return v.is_none(); }
bool is_boolean(const Value& v) { return v.get<bool>() != nullptr; }
bool is_true(const Value& v) { return v.get<bool>() && *v.get<bool>(); }
bool is_false(const Value& v) { return v.get<bool>() && !*v.get<bool>(); }
bool is_integer(const Value& v) { return v.get<int64_t>() != nullptr; }
bool is_float(const Value& v) { return v.get<double>() != nullptr; }
bool is_number(const Value& v) { return is_boolean(v) || is_integer(v) || is_float(v); }
bool is_string(const Value& v) { return v.text() != nullptr; }
bool is_mapping(const Value& v) { return v.dict() != nullptr; }
bool is_escaped(const Value&) { return false; }
bool is_loop(const Value& v) { return v.get<std::shared_ptr<LoopState>>() != nullptr; }
bool is_iterable(const Value& v) { return v.text() || v.dict() || v.sequence() || v.is_undefined() || is_loop(v); }

// What has a length and elements by number or key; an undefined value passes, as in jinja2.
bool is_sequence(const Value& v) {
  const Sequence* s = v.sequence();
  const bool by_index = s && (s->kind == SequenceKind::kList || s->kind == SequenceKind::kTuple || s->kind == SequenceKind::kRange);
  return v.text() || v.dict() || by_index || v.is_undefined();
}

bool is_callable(const Value& v) {
  return v.get<const MacroValue*>() || v.get<Global>() || v.get<LoopMethod>() || v.get<std::shared_ptr<const BoundMethod>>() || is_loop(v) ||
         v.is_undefined();
}

// operand % divisor == remainder
bool leaves(Environment& environment, const Value& operand, const Value& divisor, int64_t remainder) {
  return equal(calculate(Arithmetic::kModulo, operand, divisor, environment), Value(remainder), environment.meter);
}

bool is_odd(Environment& e, const Value& operand, const Arguments& a) { return bind_none("odd", a), leaves(e, operand, Value(int64_t{2}), 1); }
bool is_even(Environment& e, const Value& operand, const Arguments& a) { return bind_none("even", a), leaves(e, operand, Value(int64_t{2}), 0); }
bool is_divisible_by(Environment& environment, const Value& operand, const Arguments& arguments) {
  const auto [divisor] = bind<1>("divisibleby", arguments, {"num"}, 1);
  return leaves(environment, operand, *divisor, 0);
}

// "lower" and "upper": of the value's text.
template <int which>
bool is_cased(Environment& environment, const Value& operand, const Arguments& arguments) {
  bind_none("the test", arguments);
  const Method* method = find_string_method(which == 0 ? "islower" : "isupper");
  return truthy(call_method(environment, *method, Value(to_text(operand, environment.meter)), {}));
}

template <Comparison comparison>
bool compares(Environment& environment, const Value& operand, const Arguments& arguments) {
  const auto [other] = bind<1>("the test", arguments, {"other"}, 1);
  Meter& meter = environment.meter;
  switch (comparison) {
    case Comparison::kEqual: return equal(operand, *other, meter);
    case Comparison::kNotEqual: return !equal(operand, *other, meter);
    case Comparison::kLess: return less(operand, *other, meter);
    case Comparison::kGreater: return less(*other, operand, meter);
    case Comparison::kLessEqual: return less_or_equal(operand, *other, meter);
    case Comparison::kGreaterEqual: return less_or_equal(*other, operand, meter);
    case Comparison::kIn: return contains(*other, operand, meter);
    case Comparison::kNotIn: return !contains(*other, operand, meter);
  }
  throw std::logic_error("unknown comparison");
}

// Python's "is": the same object. Small things of equal value are the same object there as well.
bool is_same_as(Environment& environment, const Value& operand, const Arguments& arguments) {
  const auto [other] = bind<1>("sameas", arguments, {"other"}, 1);
  if (operand.variant().index() != other->variant().index()) return false;
  if (const Text* text = operand.text()) {
    return text->bytes().data() == other->text()->bytes().data() && text->bytes().size() == other->text()->bytes().size();
  }
  if (operand.sequence()) return operand.sequence() == other->sequence();
  if (operand.dict()) return operand.dict() == other->dict();
  return equal(operand, *other, environment.meter);
}

bool is_filter(Environment&, const Value& operand, const Arguments& arguments) {
  bind_none("filter", arguments);
  return operand.text() && find_filter(operand.text()->bytes());
}

bool is_test(Environment&, const Value& operand, const Arguments& arguments) {
  bind_none("test", arguments);
  return operand.text() && find_test(operand.text()->bytes());
}

const Test kTests[] = {
    {"defined", plain<is_defined>}, {"undefined", plain<is_undefined>}, {"none", plain<is_none>}, {"string", plain<is_string>},
    {"mapping", plain<is_mapping>}, {"iterable", plain<is_iterable>}, {"sequence", plain<is_sequence>}, {"number", plain<is_number>},
    {"integer", plain<is_integer>}, {"float", plain<is_float>}, {"boolean", plain<is_boolean>}, {"true", plain<is_true>},
    {"false", plain<is_false>}, {"callable", plain<is_callable>}, {"escaped", plain<is_escaped>}, {"odd", is_odd}, {"even", is_even},
    {"divisibleby", is_divisible_by}, {"lower", is_cased<0>}, {"upper", is_cased<1>}, {"sameas", is_same_as},
    {"eq", compares<Comparison::kEqual>}, {"equalto", compares<Comparison::kEqual>}, {"==", compares<Comparison::kEqual>},
    {"ne", compares<Comparison::kNotEqual>}, {"!=", compares<Comparison::kNotEqual>}, {"lt", compares<Comparison::kLess>},
    {"lessthan", compares<Comparison::kLess>}, {"<", compares<Comparison::kLess>}, {"le", compares<Comparison::kLessEqual>},
    {"<=", compares<Comparison::kLessEqual>}, {"gt", compares<Comparison::kGreater>}, {"greaterthan", compares<Comparison::kGreater>},
    {">", compares<Comparison::kGreater>}, {"ge", compares<Comparison::kGreaterEqual>}, {">=", compares<Comparison::kGreaterEqual>},
    {"in", compares<Comparison::kIn>}, {"filter", is_filter}, {"test", is_test},
};

}  // namespace

const Test* find_test(std::string_view name) {
  const Test* at = std::find_if(std::begin(kTests), std::end(kTests), [&](const Test& t) { return t.name == name; });
  return at == std::end(kTests) ? nullptr : at;
}

}  // namespace nibble::data::jinja
