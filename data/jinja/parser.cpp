// The parser's tokens, limits and bodies of statements; the tags are in parser_tags.cpp.
#include "data/jinja/parser.h"

#include <fmt/core.h>

#include <algorithm>

#include "data/jinja/lexer.h"

namespace nibble::data::jinja {
namespace {

constexpr int kMostNesting = 150;  // tags and brackets inside each other
constexpr int kMostDepth = 300;    // of expressions, which chains (a + b + c + ...) deepen as well

std::string described(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData: return "text";
    case TokenKind::kBlockBegin: return "'{%'";
    case TokenKind::kBlockEnd: return "'%}'";
    case TokenKind::kVariableBegin: return "'{{'";
    case TokenKind::kVariableEnd: return "'}}'";
    case TokenKind::kName:
    case TokenKind::kOperator: return fmt::format("'{}'", token.value);
    case TokenKind::kString: return "a string";
    case TokenKind::kInteger:
    case TokenKind::kFloat: return "a number";
    case TokenKind::kEnd: return "the end of the template";
  }
  throw std::logic_error("unknown token");
}

}  // namespace

NameId ParsedTemplate::name_id(std::string_view name) {
  const auto found = ids_.find(name);
  if (found != ids_.end()) return found->second;
  const std::string_view kept = keep(std::string(name));
  names.push_back(kept);
  return ids_.emplace(kept, static_cast<NameId>(names.size() - 1)).first->second;
}

std::unique_ptr<ParsedTemplate> parse_template(std::string_view source, std::string name) {
  auto out = std::make_unique<ParsedTemplate>();
  out->source = make_source(source, std::move(name));
  out->loop = out->name_id("loop");
  out->caller = out->name_id("caller");
  out->varargs = out->name_id("varargs");
  out->kwargs = out->name_id("kwargs");
  Parser(*out, tokenize(out->source)).run();
  return out;
}

int deepest(std::initializer_list<const Expression*> expressions) {
  int depth = 0;
  for (const Expression* e : expressions) depth = std::max(depth, e ? e->depth : 0);
  return depth;
}

int deepest(const std::vector<ExpressionPtr>& expressions) {
  int depth = 0;
  for (const ExpressionPtr& e : expressions) depth = std::max(depth, e->depth);
  return depth;
}

int deepest(const CallArguments& arguments) {
  int depth = std::max(deepest(arguments.positional), deepest({arguments.more_positional.get(), arguments.more_keywords.get()}));
  for (const auto& [name, value] : arguments.keywords) depth = std::max(depth, value->depth);
  return depth;
}

Parser::Parser(ParsedTemplate& out, std::vector<Token> tokens) : out_(out), tokens_(std::move(tokens)) {}

Parser::Nested::Nested(Parser& parser) : parser_(parser) {
  if (++parser_.nesting_ > kMostNesting) {
    --parser_.nesting_;
    parser_.refuse(parser_.current().at, fmt::format("tags or brackets stand in each other more than {} deep", kMostNesting));
  }
}

int Parser::checked_depth(size_t at, int inner) const {
  if (inner >= kMostDepth) refuse(at, fmt::format("the expression has more than {} operations inside each other", kMostDepth));
  return inner + 1;
}

void Parser::run() {
  out_.body = parse_body("", 0, {});
  if (!unknown_.empty()) refuse(unknown_[0].first, unknown_[0].second);
}

bool Parser::skip_name(std::string_view name) {
  if (!current().is_name(name)) return false;
  take();
  return true;
}

bool Parser::skip_operator(std::string_view text) {
  if (!current().is_operator(text)) return false;
  take();
  return true;
}

void Parser::expect_operator(std::string_view text) {
  if (!skip_operator(text)) refuse_token(fmt::format("'{}'", text));
}

const Token& Parser::expect_name(std::string_view what) {
  if (current().kind != TokenKind::kName) refuse_token(std::string(what));
  return take();
}

void Parser::expect_block_end() {
  if (current().kind != TokenKind::kBlockEnd) refuse_token("'%}'");
  take();
}

void Parser::refuse_token(const std::string& expected) const {
  refuse(current().at, fmt::format("{} where {} is expected", described(current()), expected));
}

Body Parser::parse_block_body(std::string_view tag, size_t at, Ends ends) {
  skip_operator(":");  // as in Python; jinja2 allows it
  expect_block_end();
  return parse_body(tag, at, ends);
}

Body Parser::parse_body(std::string_view tag, size_t at, Ends ends) {
  const Nested nested(*this);
  Body body;
  const auto add = [&](size_t place, auto node) {
    body.push_back(std::make_unique<Statement>(Statement{static_cast<uint32_t>(place), std::move(node)}));
  };
  while (current().kind != TokenKind::kEnd) {
    const size_t place = current().at;
    if (current().kind == TokenKind::kData) {
      add(place, Data{Text(out_.keep(take().value))});
    } else if (current().kind == TokenKind::kVariableBegin) {
      take();
      add(place, Print{parse_tuple(true, false)});
      if (current().kind != TokenKind::kVariableEnd) refuse_token("'}}'");
      take();
    } else {
      take();  // {%
      if (std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return current().is_name(end); })) return body;
      parse_tag(body);
      expect_block_end();
    }
  }
  if (!tag.empty()) refuse(at, fmt::format("{{% {} %}} is not closed with {{% {} %}}", tag, *(ends.end() - 1)));
  return body;
}

}  // namespace nibble::data::jinja
