// The parser's tags: {% if %}, {% for %}, {% set %}, {% macro %}, ...
#include <fmt/core.h>

#include <algorithm>

#include "data/jinja/parser.h"

namespace nibble::data::jinja {
namespace {

// Tags of jinja2 that need other templates or change escaping, which chat templates cannot and need not.
constexpr std::string_view kUnsupportedTags[] = {"include", "extends", "import", "from", "block", "autoescape", "trans", "do", "debug"};

constexpr std::string_view kEndTags[] = {"endif", "elif", "else", "endfor", "endset", "endmacro", "endcall", "endfilter", "endwith",
                                         "endgeneration"};

bool assigns(const Target& target, NameId name) {
  if (!target.is_tuple) return target.attribute.empty() && target.name == name;
  return std::any_of(target.parts.begin(), target.parts.end(), [&](const Target& part) { return assigns(part, name); });
}

// Puts another value in place for a scope.
template <typename T>
class Kept {
 public:
  Kept(T& place, T value) : place_(place), old_(std::exchange(place, value)) {}
  ~Kept() { place_ = old_; }
  Kept(const Kept&) = delete;

 private:
  T& place_;
  T old_;
};

}  // namespace

void Parser::refuse_tag(const Token& tag) const {
  if (std::find(std::begin(kEndTags), std::end(kEndTags), tag.value) != std::end(kEndTags)) {
    refuse(tag.at, fmt::format("{{% {} %}} has no beginning here", tag.value));
  }
  const bool known = std::find(std::begin(kUnsupportedTags), std::end(kUnsupportedTags), tag.value) != std::end(kUnsupportedTags);
  refuse(tag.at, fmt::format("{{% {} %}} is {}", tag.value, known ? "not supported in chat templates" : "no tag of Jinja"));
}

void Parser::parse_tag(Body& body) {
  const Token tag = expect_name("the name of a tag");
  const size_t at = tag.at;
  const auto add = [&](auto node) { body.push_back(std::make_unique<Statement>(Statement{tag.at, std::move(node)})); };
  if (tag.value == "if") {
    add(parse_if(at));
  } else if (tag.value == "for") {
    add(parse_for(at));
  } else if (tag.value == "set") {
    parse_set(body, at);
  } else if (tag.value == "macro") {
    add(parse_macro(at));
  } else if (tag.value == "call") {
    add(parse_call_block(at));
  } else if (tag.value == "filter") {
    const Kept<Surroundings> kept(around_, {around_.in_loop, around_.in_for, false});
    FilterBlock block{parse_filter_chain(make(at, 0, BlockText{})), {}};
    block.body = parse_block_body("filter", at, {"endfilter"});
    take();
    add(std::move(block));
  } else if (tag.value == "with") {
    add(parse_with(at));
  } else if (tag.value == "generation") {
    add(parse_generation(at));
  } else if (tag.value == "print") {
    while (current().kind != TokenKind::kBlockEnd) {
      add(Print{parse_expression()});
      if (current().kind != TokenKind::kBlockEnd) expect_operator(",");
    }
  } else if (tag.value == "break" || tag.value == "continue") {
    if (!around_.in_loop) refuse(at, fmt::format("{{% {} %}} stands outside of a loop", tag.value));
    if (tag.value == "break") add(Break{});
    else add(Continue{});
  } else {
    refuse_tag(tag);
  }
}

If Parser::parse_if(size_t at) {
  const Kept<Surroundings> kept(around_, {around_.in_loop, around_.in_for, true});
  If out;
  while (true) {
    ExpressionPtr test = parse_tuple(false, false);
    Body body = parse_block_body("if", at, {"elif", "else", "endif"});
    out.branches.emplace_back(std::move(test), std::move(body));
    const Token& end = take();
    if (end.is_name("elif")) continue;
    if (end.is_name("else")) {
      out.otherwise = parse_block_body("if", at, {"endif"});
      take();
    }
    return out;
  }
}

For Parser::parse_for(size_t at) {
  const Kept<Surroundings> kept(around_, {around_.in_loop, true, false});
  For out;
  out.target = parse_target(true, false);
  if (!skip_name("in")) refuse_token("'in'");
  out.over = parse_tuple(false, false);
  if (skip_name("if")) out.test = parse_expression();
  if (current().is_name("recursive")) refuse(current().at, "{% for ... recursive %} is not supported; write a macro that calls itself");
  const Seen outer = std::exchange(seen_, {});
  {
    const Kept<bool> in_loop(around_.in_loop, true);
    out.body = parse_block_body("for", at, {"else", "endfor"});
  }
  out.uses_loop = seen_.loop;
  if (take().is_name("else")) {
    out.otherwise = parse_block_body("for", at, {"endfor"});
    take();
  }
  seen_.add(outer);
  if (assigns(out.target, out_.loop)) refuse(at, "a for loop cannot assign to 'loop'");
  return out;
}

void Parser::parse_set(Body& body, size_t at) {
  Target target = parse_target(true, true);
  if (around_.in_for && assigns(target, out_.loop)) refuse(at, "'loop' cannot be assigned to inside a for loop");
  const auto add = [&](auto node) {
    body.push_back(std::make_unique<Statement>(Statement{static_cast<uint32_t>(at), std::move(node)}));
  };
  if (skip_operator("=")) {
    add(Set{std::move(target), parse_tuple(true, false)});
    return;
  }
  ExpressionPtr value = make(at, 0, BlockText{});
  if (skip_operator("|")) value = parse_filter_chain(std::move(value));
  SetBlock block{std::move(target), std::move(value), {}};
  block.body = parse_block_body("set", at, {"endset"});
  take();
  add(std::move(block));
}

void Parser::parse_signature(Macro& macro) {
  expect_operator("(");
  while (!skip_operator(")")) {
    if (!macro.parameters.empty()) expect_operator(",");
    const Token& name = expect_name("the name of a parameter");
    const NameId id = out_.name_id(name.value);
    const bool twice = std::any_of(macro.parameters.begin(), macro.parameters.end(), [&](const auto& p) { return p.id == id; });
    if (twice) refuse(name.at, fmt::format("the parameter '{}' occurs twice", name.value));
    Macro::Parameter parameter{id, out_.names[id], nullptr};
    const size_t at = name.at;
    if (skip_operator("=")) parameter.standard = parse_expression();
    else if (!macro.parameters.empty() && macro.parameters.back().standard) refuse(at, "a parameter without a default follows one that has a default");
    macro.parameters.push_back(std::move(parameter));
  }
}

void Parser::parse_macro_body(Macro& macro, std::string_view tag, size_t at, Ends ends) {
  const Kept<Surroundings> kept(around_, {});
  const Seen outer = std::exchange(seen_, {});
  macro.body = parse_block_body(tag, at, ends);
  take();
  const auto is_parameter = [&](NameId id) {
    return std::any_of(macro.parameters.begin(), macro.parameters.end(), [&](const auto& p) { return p.id == id; });
  };
  macro.uses_caller = seen_.caller && !is_parameter(out_.caller);
  macro.uses_varargs = seen_.varargs && !is_parameter(out_.varargs);
  macro.uses_kwargs = seen_.kwargs && !is_parameter(out_.kwargs);
  seen_.add(outer);
}

Macro Parser::parse_macro(size_t at) {
  Macro macro;
  macro.id = out_.name_id(expect_name("the name of a macro").value);
  macro.name = out_.names[macro.id];
  parse_signature(macro);
  parse_macro_body(macro, "macro", at, {"endmacro"});
  return macro;
}

CallBlock Parser::parse_call_block(size_t at) {
  CallBlock block;
  if (current().is_operator("(")) parse_signature(block.caller);
  block.call = parse_expression();
  if (!std::holds_alternative<Call>(block.call->node)) refuse(at, "{% call %} needs the call of a macro");
  parse_macro_body(block.caller, "call", at, {"endcall"});
  return block;
}

With Parser::parse_with(size_t at) {
  const Kept<Surroundings> kept(around_, {around_.in_loop, around_.in_for, false});
  With out;
  while (current().kind != TokenKind::kBlockEnd) {
    if (!out.assignments.empty()) expect_operator(",");
    Target target = parse_target(true, false);
    expect_operator("=");
    out.assignments.emplace_back(std::move(target), parse_expression());
  }
  out.body = parse_block_body("with", at, {"endwith"});
  take();
  return out;
}

Generation Parser::parse_generation(size_t at) {
  const Kept<Surroundings> kept(around_, {});  // transformers makes a macro of it: break cannot leave it
  out_.has_generation_blocks = true;
  Generation out{parse_block_body("generation", at, {"endgeneration"})};
  take();
  return out;
}

Target Parser::parse_single_target(bool namespaces) {
  const Nested nested(*this);
  if (skip_operator("(")) {
    Target inner = parse_target(true, namespaces);
    expect_operator(")");
    return inner;
  }
  const Token& name = expect_name("a name to assign to");
  static constexpr std::string_view kConstants[] = {"true", "false", "none", "True", "False", "None"};
  if (std::find(std::begin(kConstants), std::end(kConstants), name.value) != std::end(kConstants)) {
    refuse(name.at, fmt::format("'{}' cannot be assigned to", name.value));
  }
  Target target{name.at, out_.name_id(name.value), {}, {}, false};
  if (namespaces && skip_operator(".")) target.attribute = out_.keep(expect_name("the name of an attribute").value);
  return target;
}

Target Parser::parse_target(bool tuples, bool namespaces) {
  Target first = parse_single_target(namespaces);
  if (!tuples || !current().is_operator(",")) return first;
  Target out{first.at, 0, {}, {}, true};
  out.parts.push_back(std::move(first));
  while (skip_operator(",")) {
    if (current().kind != TokenKind::kName && !current().is_operator("(")) break;  // a comma may end the list
    if (current().is_name("in")) break;
    out.parts.push_back(parse_single_target(namespaces));
  }
  return out;
}

}  // namespace nibble::data::jinja
