// What follows an expression: attributes, subscripts, calls, filters and tests.
#include <fmt/core.h>

#include "data/jinja/filters.h"
#include "data/jinja/methods.h"
#include "data/jinja/parser.h"
#include "data/jinja/predicates.h"

namespace nibble::data::jinja {

ExpressionPtr Parser::parse_postfix(ExpressionPtr object) {
  while (true) {
    if (current().is_operator(".") || current().is_operator("[")) object = parse_subscript(std::move(object));
    else if (current().is_operator("(")) object = parse_call(std::move(object));
    else return object;
  }
}

ExpressionPtr Parser::parse_subscript(ExpressionPtr object) {
  const size_t at = current().at;
  const int depth = object->depth;
  if (skip_operator(".")) {
    if (current().kind == TokenKind::kInteger) {
      ExpressionPtr key = make(current().at, 0, Constant{Value(current().integer)});
      take();
      return make(at, depth, Item{std::move(object), std::move(key)});
    }
    const Token& name = expect_name("the name of an attribute");
    return make(at, depth, Attribute{std::move(object), out_.keep(name.value), find_string_method(name.value)});
  }
  expect_operator("[");
  const auto bound = [&]() -> ExpressionPtr {
    return current().is_operator(":") || current().is_operator("]") || current().is_operator(",") ? nullptr : parse_expression();
  };
  ExpressionPtr start = bound();
  if (skip_operator(":")) {
    ExpressionPtr stop = bound();
    ExpressionPtr step = skip_operator(":") ? bound() : nullptr;
    if (current().is_operator(",")) refuse(current().at, "a slice with several parts is not supported: chat templates have no arrays");
    expect_operator("]");
    const int inner = deepest({object.get(), start.get(), stop.get(), step.get()});
    return make(at, inner, Slice{std::move(object), std::move(start), std::move(stop), std::move(step)});
  }
  std::vector<ExpressionPtr> keys;
  if (start) keys.push_back(std::move(start));
  while (skip_operator(",")) {
    if (current().is_operator("]")) break;
    keys.push_back(parse_expression());
  }
  expect_operator("]");
  if (keys.empty()) refuse(at, "[] needs a key or an index");
  const int inner = std::max(depth, deepest(keys) + 1);
  ExpressionPtr key = keys.size() == 1 ? std::move(keys[0]) : make(at, deepest(keys), ListLiteral{SequenceKind::kTuple, std::move(keys)});
  return make(at, inner, Item{std::move(object), std::move(key)});
}

ExpressionPtr Parser::parse_filters_and_tests(ExpressionPtr operand) {
  while (true) {
    if (current().is_operator("|")) operand = parse_filter(std::move(operand));
    else if (current().is_name("is")) operand = parse_test(std::move(operand));
    else if (current().is_operator("(")) operand = parse_call(std::move(operand));
    else return operand;
  }
}

std::string Parser::parse_dotted_name(std::string_view what) {
  std::string name = expect_name(what).value;
  while (skip_operator(".")) name += "." + expect_name(what).value;
  return name;
}

ExpressionPtr Parser::parse_filter(ExpressionPtr operand) {
  expect_operator("|");
  return parse_filter_chain(std::move(operand));
}

ExpressionPtr Parser::parse_filter_chain(ExpressionPtr operand) {
  do {
    const size_t at = current().at;
    const std::string name = parse_dotted_name("the name of a filter");
    const Filter* filter = find_filter(name);
    if (!filter && is_unsupported_filter(name)) refuse(at, fmt::format("the filter '{}' is not supported in chat templates", name));
    if (!filter && !around_.conditional) unknown_.emplace_back(at, fmt::format("there is no filter named '{}'", name));
    CallArguments arguments;
    if (current().is_operator("(")) arguments = parse_arguments();
    const int inner = std::max(operand->depth, deepest(arguments));
    operand = make(at, inner, FilterCall{std::move(operand), filter, out_.keep(name), std::move(arguments)});
  } while (skip_operator("|"));
  return operand;
}

ExpressionPtr Parser::parse_test(ExpressionPtr operand) {
  const size_t at = take().at;
  const bool negated = skip_name("not");
  const std::string name = parse_dotted_name("the name of a test");
  const Test* test = find_test(name);
  if (!test && !around_.conditional) unknown_.emplace_back(at, fmt::format("there is no test named '{}'", name));
  CallArguments arguments;
  const TokenKind kind = current().kind;
  if (current().is_operator("(")) {
    arguments = parse_arguments();
  } else if (kind == TokenKind::kString || kind == TokenKind::kInteger || kind == TokenKind::kFloat || current().is_operator("[") ||
             current().is_operator("{") ||
             (kind == TokenKind::kName && !current().is_name("else") && !current().is_name("or") && !current().is_name("and"))) {
    // One argument needs no parentheses: "x is divisibleby 3".
    if (current().is_name("is")) refuse(current().at, "tests with 'is' cannot be chained");
    arguments.positional.push_back(parse_postfix(parse_primary()));
  }
  const int inner = std::max(operand->depth, deepest(arguments));
  ExpressionPtr out = make(at, inner, TestCall{std::move(operand), test, out_.keep(name), std::move(arguments)});
  if (!negated) return out;
  const int depth = out->depth;
  return make(at, depth, Not{std::move(out)});
}

ExpressionPtr Parser::parse_call(ExpressionPtr callee) {
  const size_t at = current().at;
  if (const Name* name = std::get_if<Name>(&callee->node)) {
    const std::string_view called = out_.names[name->id];
    if (called == "cycler" || called == "joiner" || called == "lipsum") {
      refuse(callee->at, fmt::format("{}() is not supported in chat templates", called));
    }
  }
  CallArguments arguments = parse_arguments();
  const int inner = std::max(callee->depth, deepest(arguments));
  return make(at, inner, Call{std::move(callee), std::move(arguments)});
}

CallArguments Parser::parse_arguments() {
  const size_t at = current().at;
  expect_operator("(");
  CallArguments out;
  bool comma = true;
  while (!skip_operator(")")) {
    if (!comma) {
      expect_operator(",");
      if (skip_operator(")")) break;
    }
    comma = false;
    const bool open = !out.more_keywords;
    if (skip_operator("*")) {
      if (!open || out.more_positional) refuse(at, "'*' stands at most once in a call, in front of '**'");
      out.more_positional = parse_expression();
    } else if (skip_operator("**")) {
      if (!open) refuse(at, "'**' stands at most once in a call");
      out.more_keywords = parse_expression();
    } else if (current().kind == TokenKind::kName && ahead().is_operator("=")) {
      if (!open) refuse(at, "'**' is the last argument of a call");
      const std::string_view name = out_.keep(take().value);
      take();
      for (const auto& [other, value] : out.keywords) {
        if (other == name) refuse(at, fmt::format("the argument '{}' is given twice", name));
      }
      out.keywords.emplace_back(name, parse_expression());
    } else {
      if (!open || out.more_positional || !out.keywords.empty()) refuse(at, "an argument without a name follows one with a name");
      out.positional.push_back(parse_expression());
    }
  }
  return out;
}

}  // namespace nibble::data::jinja
