#include "data/jinja/operators.h"

#include <fmt/core.h>

#include <cmath>

namespace nibble::data::jinja {
namespace {

constexpr const char* symbol(Arithmetic operation) {
  switch (operation) {
    case Arithmetic::kAdd: return "+";
    case Arithmetic::kSubtract: return "-";
    case Arithmetic::kMultiply: return "*";
    case Arithmetic::kDivide: return "/";
    case Arithmetic::kFloorDivide: return "//";
    case Arithmetic::kModulo: return "%";
    case Arithmetic::kPower: return "**";
  }
  throw std::logic_error("unknown operation");
}

[[noreturn]] void overflow() { throw Failure("the result is an integer of more than 64 bits, which is not supported"); }

std::optional<double> as_float(const Value& value) {
  if (const double* d = value.get<double>()) return *d;
  if (const auto i = as_integer(value)) return static_cast<double>(*i);
  return std::nullopt;
}

// The quotient rounded down, as Python does; the remainder takes the divisor's sign.
int64_t floor_divided(int64_t a, int64_t b) {
  if (b == -1) {
    int64_t result = 0;
    if (__builtin_sub_overflow(int64_t{0}, a, &result)) overflow();
    return result;
  }
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

int64_t modulo(int64_t a, int64_t b) {
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

double modulo(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  return rest == 0 ? std::copysign(0.0, b) : rest;
}

Value power(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) throw Failure("0 cannot be raised to a negative power");
    return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) overflow();
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) overflow();
  }
  return Value(result);
}

Value calculate_integers(Arithmetic operation, int64_t a, int64_t b) {
  int64_t result = 0;
  bool too_large = false;
  switch (operation) {
    case Arithmetic::kAdd: too_large = __builtin_add_overflow(a, b, &result); break;
    case Arithmetic::kSubtract: too_large = __builtin_sub_overflow(a, b, &result); break;
    case Arithmetic::kMultiply: too_large = __builtin_mul_overflow(a, b, &result); break;
    case Arithmetic::kPower: return power(a, b);
    case Arithmetic::kDivide:
    case Arithmetic::kFloorDivide:
    case Arithmetic::kModulo:
      if (b == 0) throw Failure("division by zero");
      if (operation == Arithmetic::kDivide) return Value(static_cast<double>(a) / static_cast<double>(b));
      return Value(operation == Arithmetic::kFloorDivide ? floor_divided(a, b) : modulo(a, b));
  }
  if (too_large) overflow();
  return Value(result);
}

Value calculate_floats(Arithmetic operation, double a, double b) {
  switch (operation) {
    case Arithmetic::kAdd: return Value(a + b);
    case Arithmetic::kSubtract: return Value(a - b);
    case Arithmetic::kMultiply: return Value(a * b);
    case Arithmetic::kPower: {
      if (a == 0 && b < 0) throw Failure("0 cannot be raised to a negative power");
      if (a < 0 && b != std::floor(b)) throw Failure("a root of a negative number is not supported");
      const double result = std::pow(a, b);
      if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) throw Failure("the result is too large for a float");
      return Value(result);
    }
    case Arithmetic::kDivide:
    case Arithmetic::kFloorDivide:
    case Arithmetic::kModulo:
      if (b == 0) throw Failure("division by zero");
      if (operation == Arithmetic::kDivide) return Value(a / b);
      if (operation == Arithmetic::kModulo) return Value(modulo(a, b));
      // From the remainder, as Python does: a / b rounds, and its floor may be off by one.
      return Value(std::round((a - modulo(a, b)) / b));
  }
  throw std::logic_error("unknown operation");
}

Value repeated(const Value& value, int64_t count, Meter& meter) {
  if (count <= 0) count = 0;
  const auto times = static_cast<size_t>(count);
  const auto limit = static_cast<size_t>(meter.limits().output_bytes);
  if (const Text* text = value.text()) {
    if (times > 0 && text->bytes().size() > limit / times) throw Failure("the repeated text is too large");
    meter.step(count);
    TextBuilder out(meter);
    for (size_t i = 0; i < times; ++i) out.append(*text);
    return Value(out.take());
  }
  const Sequence& sequence = *value.sequence();
  if (times > 0 && sequence.items.size() > limit / sizeof(Value) / times) throw Failure("the repeated list is too large");
  meter.step(count);
  meter.create(sequence.items.size() * times * sizeof(Value));
  std::vector<Value> items;
  for (size_t i = 0; i < times; ++i) items.insert(items.end(), sequence.items.begin(), sequence.items.end());
  return make_sequence(sequence.kind, std::move(items), meter);
}

bool is_repeatable(const Value& value) {
  const Sequence* s = value.sequence();
  return value.text() || (s && (s->kind == SequenceKind::kList || s->kind == SequenceKind::kTuple));
}

}  // namespace

Value calculate(Arithmetic operation, const Value& left, const Value& right, Environment& environment) {
  const auto a = as_integer(left), b = as_integer(right);
  if (a && b) return calculate_integers(operation, *a, *b);
  const auto x = as_float(left), y = as_float(right);
  if (x && y) return calculate_floats(operation, *x, *y);
  Meter& meter = environment.meter;
  if (operation == Arithmetic::kAdd) {
    if (left.text() && right.text()) {
      TextBuilder out(meter);
      return Value(out.append(*left.text()).append(*right.text()).take());
    }
    const Sequence* s = left.sequence();
    const Sequence* t = right.sequence();
    if (s && t && s->kind == t->kind && is_repeatable(left)) {
      meter.create((s->items.size() + t->items.size()) * sizeof(Value));
      std::vector<Value> items = s->items;
      items.insert(items.end(), t->items.begin(), t->items.end());
      return make_sequence(s->kind, std::move(items), meter);
    }
  }
  if (operation == Arithmetic::kMultiply && b && is_repeatable(left)) return repeated(left, *b, meter);
  if (operation == Arithmetic::kMultiply && a && is_repeatable(right)) return repeated(right, *a, meter);
  if (operation == Arithmetic::kModulo && left.text()) return format_percent(*left.text(), right, environment);
  require_defined(left);
  require_defined(right);
  throw Failure(fmt::format("the operator {} does not go with values of the types '{}' and '{}'", symbol(operation), type_name(left),
                            type_name(right)));
}

Value with_sign(bool minus, const Value& value) {
  require_defined(value);
  if (const double* d = value.get<double>()) return Value(minus ? -*d : *d);
  const auto integer = as_integer(value);
  if (!integer) throw Failure(fmt::format("a sign does not go with a value of type '{}'", type_name(value)));
  int64_t result = *integer;
  if (minus && __builtin_sub_overflow(int64_t{0}, *integer, &result)) overflow();
  return Value(result);
}

}  // namespace nibble::data::jinja
