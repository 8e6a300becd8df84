// Filters of single values: default, numbers, JSON.
#include <fmt/core.h>

#include <cmath>

#include "data/jinja/filters.h"
#include "data/jinja/methods.h"
#include "data/jinja/numbers.h"
#include "data/jinja/operators.h"
#include "data/jinja/python_text.h"
#include "data/jinja/subscript.h"

namespace nibble::data::jinja {
namespace {

Value filter_default(Environment&, const Value& operand, const Arguments& arguments) {
  const auto [otherwise, boolean] = bind<2>("default", arguments, {"default_value", "boolean"}, 0);
  const bool replaced = operand.is_undefined() || (flag_argument(boolean, false) && !truthy(operand));
  if (!replaced) return operand;
  return otherwise ? *otherwise : Value(Text());
}

// Only what Python calls an attribute: a method, or what a namespace or the loop holds.
Value filter_attr(Environment& environment, const Value& operand, const Arguments& arguments) {
  const auto [name] = bind<1>("attr", arguments, {"name"}, 1);
  const std::string_view wanted = text_argument("attr", name).bytes();
  if (operand.dict() && !find_method(operand, wanted)) return Undefined{{}, "dict", Undefined::Reason::kElement};
  Value value = attribute_of(environment, operand, wanted);
  if (value.is_undefined()) return Undefined{{}, type_name(operand), Undefined::Reason::kElement};
  return value;
}

Value filter_tojson(Environment& environment, const Value& operand, const Arguments& arguments) {
  const auto [ascii, indent, separators, sort_keys] = bind<4>("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}, 0);
  JsonStyle style;
  style.ascii = flag_argument(ascii, false);
  style.sort_keys = flag_argument(sort_keys, false);
  if (indent && !indent->is_none()) {
    if (const Text* text = indent->text()) {
      style.indent = std::string(text->bytes());
    } else {
      const int64_t width = std::min(integer_argument("tojson", indent, 0), environment.meter.limits().output_bytes);
      environment.meter.create(static_cast<size_t>(std::max<int64_t>(0, width)));
      style.indent = std::string(static_cast<size_t>(std::max<int64_t>(0, width)), ' ');
    }
    style.item_separator = ",";
  }
  if (separators && !separators->is_none()) {
    const std::vector<Value> two = elements(*separators, environment.meter);
    if (two.size() != 2) throw Failure("tojson: separators are two strings");
    style.item_separator = text_argument("tojson", &two[0]).bytes();
    style.key_separator = text_argument("tojson", &two[1]).bytes();
  }
  return Value(to_json(operand, style, environment.meter));
}

Value filter_int(Environment&, const Value& operand, const Arguments& arguments) {
  const auto [otherwise, base] = bind<2>("int", arguments, {"default", "base"}, 0);
  require_defined(operand);
  const Value standard = otherwise ? *otherwise : Value(int64_t{0});
  if (const auto integer = as_integer(operand)) return Value(*integer);
  std::optional<double> real;
  if (const double* d = operand.get<double>()) real = *d;
  if (const Text* text = operand.text()) {
    if (const auto integer = read_integer(text->bytes(), integer_argument("int", base, 10))) return Value(*integer);
    real = read_float(text->bytes());
  }
  if (!real || !std::isfinite(*real)) return standard;
  if (!(std::fabs(*real) < 9.2e18)) throw Failure("int: the number needs more than 64 bits, which is not supported");
  return Value(static_cast<int64_t>(*real));
}

Value filter_float(Environment&, const Value& operand, const Arguments& arguments) {
  const auto [otherwise] = bind<1>("float", arguments, {"default"}, 0);
  require_defined(operand);
  if (const double* d = operand.get<double>()) return Value(*d);
  if (const auto integer = as_integer(operand)) return Value(static_cast<double>(*integer));
  if (const Text* text = operand.text()) {
    if (const auto real = read_float(text->bytes())) return Value(*real);
  }
  return otherwise ? *otherwise : Value(0.0);
}

Value filter_abs(Environment&, const Value& operand, const Arguments& arguments) {
  bind_none("abs", arguments);
  const auto integer = as_integer(operand);
  const double* real = operand.get<double>();
  return with_sign(integer ? *integer < 0 : real && std::signbit(*real), operand);
}

Value filter_round(Environment& environment, const Value& operand, const Arguments& arguments) {
  const auto [precision, method] = bind<2>("round", arguments, {"precision", "method"}, 0);
  require_defined(operand);
  const int64_t digits = integer_argument("round", precision, 0);
  const std::string_view how = method ? text_argument("round", method).bytes() : "common";
  if (how != "common" && how != "ceil" && how != "floor") throw Failure("round: the method is 'common', 'ceil' or 'floor'");
  const auto integer = as_integer(operand);
  const double* real = operand.get<double>();
  if (!integer && !real) throw Failure(fmt::format("round needs a number, not a value of type '{}'", type_name(operand)));
  if (how == "common") {
    if (real) return Value(rounded(*real, digits));
    if (digits >= 0) return Value(*integer);
    throw Failure("round: a negative precision of an integer is not supported");
  }
  const Value scale = calculate(Arithmetic::kPower, Value(int64_t{10}), Value(digits), environment);
  const Value scaled = calculate(Arithmetic::kMultiply, operand, scale, environment);
  const double wide = scaled.get<double>() ? *scaled.get<double>() : static_cast<double>(*as_integer(scaled));
  if (!std::isfinite(wide)) throw Failure("round: the number is not finite");
  return calculate(Arithmetic::kDivide, Value(how == "ceil" ? std::ceil(wide) : std::floor(wide)), scale, environment);
}

const Filter kFilters[] = {
    {"default", filter_default}, {"d", filter_default}, {"attr", filter_attr}, {"tojson", filter_tojson}, {"int", filter_int},
    {"float", filter_float}, {"abs", filter_abs}, {"round", filter_round},
};

}  // namespace

FilterTable value_filters() { return {std::begin(kFilters), std::end(kFilters)}; }

}  // namespace nibble::data::jinja
