// The interpreter's expressions.
#include <fmt/core.h>

#include "data/jinja/compare.h"
#include "data/jinja/filters.h"
#include "data/jinja/functions.h"
#include "data/jinja/interpreter.h"
#include "data/jinja/operators.h"
#include "data/jinja/placed.h"
#include "data/jinja/predicates.h"
#include "data/jinja/python_text.h"
#include "data/jinja/subscript.h"

namespace nibble::data::jinja {

Value Interpreter::evaluate(const Expression& expression) {
  if (const Constant* constant = std::get_if<Constant>(&expression.node)) return constant->value;
  return placed(expression.at, [&] { return std::visit([&](const auto& node) { return evaluate(node); }, expression.node); });
}

Value Interpreter::evaluate(const Name& name) {
  if (const Value* value = frame_->find(name.id)) return *value;
  if (name.id < variables_.size() && variables_[name.id]) return *variables_[name.id];
  const std::string_view text = parsed_.names[name.id];
  if (const auto global = find_global(text)) return Value(*global);
  return Undefined{text, "", Undefined::Reason::kVariable};
}

Value Interpreter::evaluate(const ListLiteral& list) {
  std::vector<Value> items;
  items.reserve(list.items.size());
  for (const ExpressionPtr& item : list.items) items.push_back(evaluate(*item));
  return make_sequence(list.kind, std::move(items), environment_.meter);
}

Value Interpreter::evaluate(const DictLiteral& dict) {
  Dict out;
  for (const auto& [key, value] : dict.items) {
    const Value k = evaluate(*key);
    out.set(k, evaluate(*value), environment_.meter);
  }
  return make_dict(std::move(out), environment_.meter);
}

Value Interpreter::evaluate(const Attribute& attribute) {
  return attribute_of(environment_, evaluate(*attribute.object), attribute.name);
}

Value Interpreter::evaluate(const Item& item) {
  const Value object = evaluate(*item.object);
  const Value key = evaluate(*item.key);
  Value value = item_of(environment_, object, key);
  // A key that the template spells out can be named in an error.
  const Constant* constant = std::get_if<Constant>(&item.key->node);
  if (value.is_undefined() && constant && constant->value.text()) {
    return Undefined{constant->value.text()->bytes(), type_name(object), Undefined::Reason::kAttribute};
  }
  return value;
}

Value Interpreter::evaluate(const Slice& slice) {
  const Value object = evaluate(*slice.object);
  const auto bound = [&](const ExpressionPtr& e) { return e ? evaluate(*e) : Value(); };
  const Value start = bound(slice.start), stop = bound(slice.stop), step = bound(slice.step);
  return slice_of(environment_, object, start, stop, step);
}

Value Interpreter::evaluate(const FilterCall& filter) {
  const Value operand = evaluate(*filter.operand);
  if (!filter.filter) throw Failure(fmt::format("there is no filter named '{}'", filter.name));
  return filter.filter->call(environment_, operand, evaluate_arguments(filter.arguments));
}

Value Interpreter::evaluate(const TestCall& test) {
  const Value operand = evaluate(*test.operand);
  if (!test.test) throw Failure(fmt::format("there is no test named '{}'", test.name));
  return Value(test.test->call(environment_, operand, evaluate_arguments(test.arguments)));
}

Value Interpreter::evaluate(const Not& operation) { return Value(!truthy(evaluate(*operation.operand))); }

Value Interpreter::evaluate(const Sign& sign) { return with_sign(sign.minus, evaluate(*sign.operand)); }

Value Interpreter::evaluate(const Binary& operation) {
  const Value left = evaluate(*operation.left);
  const Value right = evaluate(*operation.right);
  return calculate(operation.operation, left, right, environment_);
}

Value Interpreter::evaluate(const Concatenation& concatenation) {
  std::vector<Value> values;
  values.reserve(concatenation.parts.size());
  for (const ExpressionPtr& part : concatenation.parts) values.push_back(evaluate(*part));
  TextBuilder out(environment_.meter);
  for (const Value& value : values) out.append(to_text(value, environment_.meter));
  return Value(out.take());
}

Value Interpreter::evaluate(const Compare& compare) {
  Value left = evaluate(*compare.first);
  Meter& meter = environment_.meter;
  for (const auto& [comparison, expression] : compare.rest) {
    Value right = evaluate(*expression);
    bool holds = false;
    switch (comparison) {
      case Comparison::kEqual: holds = equal(left, right, meter); break;
      case Comparison::kNotEqual: holds = !equal(left, right, meter); break;
      case Comparison::kLess: holds = less(left, right, meter); break;
      case Comparison::kLessEqual: holds = less_or_equal(left, right, meter); break;
      case Comparison::kGreater: holds = less(right, left, meter); break;
      case Comparison::kGreaterEqual: holds = less_or_equal(right, left, meter); break;
      case Comparison::kIn: holds = contains(right, left, meter); break;
      case Comparison::kNotIn: holds = !contains(right, left, meter); break;
    }
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

// Like Python's, and and or give one of their operands.
Value Interpreter::evaluate(const And& operation) {
  Value left = evaluate(*operation.left);
  return truthy(left) ? evaluate(*operation.right) : left;
}

Value Interpreter::evaluate(const Or& operation) {
  Value left = evaluate(*operation.left);
  return truthy(left) ? left : evaluate(*operation.right);
}

Value Interpreter::evaluate(const Conditional& conditional) {
  if (truthy(evaluate(*conditional.test))) return evaluate(*conditional.then);
  if (conditional.otherwise) return evaluate(*conditional.otherwise);
  return Undefined{"the condition is false and there is no else", "", Undefined::Reason::kOther};
}

}  // namespace nibble::data::jinja
