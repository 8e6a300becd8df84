// The parser's expressions, from the loosest operator to the tightest: if-else, or, and, not, comparisons, + and -, ~,
// * / // %, **, signs. Signs bind tighter than **, as in jinja2 and unlike in Python.
#include <fmt/core.h>

#include "data/jinja/parser.h"

namespace nibble::data::jinja {

ExpressionPtr Parser::parse_expression() {
  const Nested nested(*this);
  const size_t at = current().at;
  const size_t known = unknown_.size();
  ExpressionPtr value = parse_or();
  while (skip_name("if")) {
    unknown_.resize(known);  // the value turns out to be conditional
    const bool outer = std::exchange(around_.conditional, true);
    ExpressionPtr test = parse_or();
    ExpressionPtr otherwise;
    if (skip_name("else")) otherwise = parse_expression();
    around_.conditional = outer;
    const int inner = deepest({value.get(), test.get(), otherwise.get()});
    value = make(at, inner, Conditional{std::move(test), std::move(value), std::move(otherwise)});
  }
  return value;
}

// One expression, or several with commas: a tuple. In parentheses it may be empty.
ExpressionPtr Parser::parse_tuple(bool conditional, bool in_parentheses) {
  const size_t at = current().at;
  std::vector<ExpressionPtr> items;
  bool comma = false;
  while (true) {
    const TokenKind kind = current().kind;
    if (kind == TokenKind::kVariableEnd || kind == TokenKind::kBlockEnd || current().is_operator(")")) break;
    items.push_back(conditional ? parse_expression() : parse_or());
    if (!skip_operator(",")) break;
    comma = true;
  }
  if (!comma && !items.empty()) return std::move(items[0]);
  if (items.empty() && !in_parentheses) refuse_token("an expression");
  const int inner = deepest(items);
  return make(at, inner, ListLiteral{SequenceKind::kTuple, std::move(items)});
}

ExpressionPtr Parser::parse_or() {
  ExpressionPtr left = parse_and();
  while (current().is_name("or")) {
    const size_t at = take().at;
    ExpressionPtr right = parse_and();
    const int inner = deepest({left.get(), right.get()});
    left = make(at, inner, Or{std::move(left), std::move(right)});
  }
  return left;
}

ExpressionPtr Parser::parse_and() {
  ExpressionPtr left = parse_not();
  while (current().is_name("and")) {
    const size_t at = take().at;
    ExpressionPtr right = parse_not();
    const int inner = deepest({left.get(), right.get()});
    left = make(at, inner, And{std::move(left), std::move(right)});
  }
  return left;
}

ExpressionPtr Parser::parse_not() {
  if (!current().is_name("not")) return parse_compare();
  const Nested nested(*this);
  const size_t at = take().at;
  ExpressionPtr operand = parse_not();
  const int inner = operand->depth;
  return make(at, inner, Not{std::move(operand)});
}

ExpressionPtr Parser::parse_compare() {
  static constexpr std::pair<std::string_view, Comparison> kOperators[] = {
      {"==", Comparison::kEqual}, {"!=", Comparison::kNotEqual}, {"<", Comparison::kLess},
      {"<=", Comparison::kLessEqual}, {">", Comparison::kGreater}, {">=", Comparison::kGreaterEqual}};
  ExpressionPtr first = parse_sum();
  const size_t at = current().at;
  std::vector<std::pair<Comparison, ExpressionPtr>> rest;
  int inner = first->depth;
  while (true) {
    std::optional<Comparison> comparison;
    for (const auto& [text, meaning] : kOperators) {
      if (current().is_operator(text)) comparison = meaning;
    }
    if (current().is_name("in")) comparison = Comparison::kIn;
    if (current().is_name("not") && ahead().is_name("in")) {
      comparison = Comparison::kNotIn;
      take();
    }
    if (!comparison) break;
    take();
    rest.emplace_back(*comparison, parse_sum());
    inner = std::max(inner, rest.back().second->depth);
  }
  if (rest.empty()) return first;
  return make(at, inner, Compare{std::move(first), std::move(rest)});
}

ExpressionPtr Parser::parse_sum() {
  ExpressionPtr left = parse_concatenation();
  while (current().is_operator("+") || current().is_operator("-")) {
    const Token& sign = take();
    const auto operation = sign.value == "+" ? Arithmetic::kAdd : Arithmetic::kSubtract;
    const size_t at = sign.at;
    ExpressionPtr right = parse_concatenation();
    const int inner = deepest({left.get(), right.get()});
    left = make(at, inner, Binary{operation, std::move(left), std::move(right)});
  }
  return left;
}

ExpressionPtr Parser::parse_concatenation() {
  const size_t at = current().at;
  std::vector<ExpressionPtr> parts;
  parts.push_back(parse_product());
  while (skip_operator("~")) parts.push_back(parse_product());
  if (parts.size() == 1) return std::move(parts[0]);
  const int inner = deepest(parts);
  return make(at, inner, Concatenation{std::move(parts)});
}

ExpressionPtr Parser::parse_product() {
  static constexpr std::pair<std::string_view, Arithmetic> kOperators[] = {
      {"*", Arithmetic::kMultiply}, {"/", Arithmetic::kDivide}, {"//", Arithmetic::kFloorDivide}, {"%", Arithmetic::kModulo}};
  ExpressionPtr left = parse_power();
  while (true) {
    std::optional<Arithmetic> operation;
    for (const auto& [text, meaning] : kOperators) {
      if (current().is_operator(text)) operation = meaning;
    }
    if (!operation) return left;
    const size_t at = take().at;
    ExpressionPtr right = parse_power();
    const int inner = deepest({left.get(), right.get()});
    left = make(at, inner, Binary{*operation, std::move(left), std::move(right)});
  }
}

ExpressionPtr Parser::parse_power() {
  ExpressionPtr left = parse_unary(true);
  while (current().is_operator("**")) {
    const size_t at = take().at;
    ExpressionPtr right = parse_unary(true);
    const int inner = deepest({left.get(), right.get()});
    left = make(at, inner, Binary{Arithmetic::kPower, std::move(left), std::move(right)});
  }
  return left;
}

ExpressionPtr Parser::parse_unary(bool with_filters) {
  ExpressionPtr value;
  if (current().is_operator("-") || current().is_operator("+")) {
    const Nested nested(*this);
    const Token& sign = take();
    const bool minus = sign.value == "-";
    const size_t at = sign.at;
    ExpressionPtr operand = parse_unary(false);
    const int inner = operand->depth;
    value = make(at, inner, Sign{minus, std::move(operand)});
  } else {
    value = parse_primary();
  }
  value = parse_postfix(std::move(value));
  return with_filters ? parse_filters_and_tests(std::move(value)) : std::move(value);
}

ExpressionPtr Parser::parse_name() {
  const Token& name = take();
  if (name.value == "true" || name.value == "True") return make(name.at, 0, Constant{Value(true)});
  if (name.value == "false" || name.value == "False") return make(name.at, 0, Constant{Value(false)});
  if (name.value == "none" || name.value == "None") return make(name.at, 0, Constant{Value()});
  const NameId id = out_.name_id(name.value);
  seen_.loop |= id == out_.loop;
  seen_.caller |= id == out_.caller;
  seen_.varargs |= id == out_.varargs;
  seen_.kwargs |= id == out_.kwargs;
  out_.reads_clock |= name.value == "strftime_now";
  return make(name.at, 0, Name{id});
}

ExpressionPtr Parser::parse_primary() {
  const Token& token = current();
  switch (token.kind) {
    case TokenKind::kName: return parse_name();
    case TokenKind::kInteger: return make(take().at, 0, Constant{Value(token.integer)});
    case TokenKind::kFloat: return make(take().at, 0, Constant{Value(token.number)});
    case TokenKind::kString: {
      std::string text = take().value;
      while (current().kind == TokenKind::kString) text += take().value;  // neighbours are one string
      return make(token.at, 0, Constant{Value(Text(out_.keep(std::move(text))))});
    }
    default: break;
  }
  if (token.is_operator("[")) return parse_list();
  if (token.is_operator("{")) return parse_dict();
  if (!skip_operator("(")) refuse_token("an expression");
  ExpressionPtr inside = parse_tuple(true, true);
  expect_operator(")");
  return inside;
}

ExpressionPtr Parser::parse_list() {
  const size_t at = take().at;
  std::vector<ExpressionPtr> items;
  while (!skip_operator("]")) {
    if (!items.empty()) expect_operator(",");
    if (skip_operator("]")) break;
    items.push_back(parse_expression());
  }
  const int inner = deepest(items);
  return make(at, inner, ListLiteral{SequenceKind::kList, std::move(items)});
}

ExpressionPtr Parser::parse_dict() {
  const size_t at = take().at;
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> items;
  int inner = 0;
  while (!skip_operator("}")) {
    if (!items.empty()) expect_operator(",");
    if (skip_operator("}")) break;
    ExpressionPtr key = parse_expression();
    expect_operator(":");
    ExpressionPtr value = parse_expression();
    inner = std::max(inner, deepest({key.get(), value.get()}));
    items.emplace_back(std::move(key), std::move(value));
  }
  return make(at, inner, DictLiteral{std::move(items)});
}

}  // namespace nibble::data::jinja
