// Tokens to statements and expressions: jinja2's grammar (its parser.py is the reference for precedence), with recursion
// bounded so that no template can exhaust the stack, here or when it is rendered.
#pragma once

#include "data/jinja/parsed.h"
#include "data/jinja/token.h"

namespace nibble::data::jinja {

class Parser {
 public:
  Parser(ParsedTemplate& out, std::vector<Token> tokens);
  void run();  // THROWS FormatError

 private:
  // Tokens (parser.cpp).
  const Token& current() const { return tokens_[next_]; }
  const Token& ahead() const { return tokens_[next_ + 1 < tokens_.size() ? next_ + 1 : next_]; }
  const Token& take() { return tokens_[next_ + 1 < tokens_.size() ? next_++ : next_]; }
  bool skip_name(std::string_view name);
  bool skip_operator(std::string_view text);
  void expect_operator(std::string_view text);
  const Token& expect_name(std::string_view what);
  void expect_block_end();
  [[noreturn]] void refuse(size_t at, const std::string& message) const { out_.source.refuse(at, message); }
  [[noreturn]] void refuse_token(const std::string& expected) const;

  // Statements (parser.cpp, parser_tags.cpp).
  using Ends = std::initializer_list<std::string_view>;
  Body parse_body(std::string_view tag, size_t at, Ends ends);  // up to the end tag's name, which is left for take()
  Body parse_block_body(std::string_view tag, size_t at, Ends ends);  // first the %} of the opening tag
  void parse_tag(Body& body);
  If parse_if(size_t at);
  For parse_for(size_t at);
  void parse_set(Body& body, size_t at);
  Macro parse_macro(size_t at);
  void parse_signature(Macro& macro);
  void parse_macro_body(Macro& macro, std::string_view tag, size_t at, Ends ends);
  CallBlock parse_call_block(size_t at);
  With parse_with(size_t at);
  Generation parse_generation(size_t at);
  [[noreturn]] void refuse_tag(const Token& tag) const;

  Target parse_target(bool tuples, bool namespaces);
  Target parse_single_target(bool namespaces);

  // Expressions (parser_expression.cpp).
  ExpressionPtr parse_expression();  // with "a if b else c"
  ExpressionPtr parse_tuple(bool conditional, bool in_parentheses);
  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_compare();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concatenation();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_unary(bool with_filters);
  ExpressionPtr parse_primary();
  ExpressionPtr parse_name();
  ExpressionPtr parse_list();
  ExpressionPtr parse_dict();

  // What follows an expression: .name [key] (arguments) |filter is test (parser_postfix.cpp).
  ExpressionPtr parse_postfix(ExpressionPtr object);
  ExpressionPtr parse_subscript(ExpressionPtr object);
  ExpressionPtr parse_filters_and_tests(ExpressionPtr operand);
  ExpressionPtr parse_filter(ExpressionPtr operand);
  ExpressionPtr parse_filter_chain(ExpressionPtr operand);  // the first without its |
  ExpressionPtr parse_test(ExpressionPtr operand);
  ExpressionPtr parse_call(ExpressionPtr callee);
  CallArguments parse_arguments();
  std::string parse_dotted_name(std::string_view what);

  // inner: the depth of the deepest expression inside. THROWS FormatError where that is too deep.
  template <typename Node>
  ExpressionPtr make(size_t at, int inner, Node node) const;
  int checked_depth(size_t at, int inner) const;

  // Counts recursion while alive. THROWS FormatError where it is too deep.
  class Nested {
   public:
    explicit Nested(Parser& parser);
    ~Nested() { --parser_.nesting_; }
    Nested(const Nested&) = delete;

   private:
    Parser& parser_;
  };

  // Where the parser is: what the statements around allow.
  struct Surroundings {
    bool in_loop = false;      // break and continue mean something
    bool in_for = false;       // "loop" may not be assigned to
    bool conditional = false;  // a filter or test that does not exist is an error only when it is reached, as in jinja2
  };
  // Which of the names that have a meaning of their own occurred since this was cleared.
  struct Seen {
    bool loop = false, caller = false, varargs = false, kwargs = false;
    void add(const Seen& inner) {
      loop |= inner.loop, caller |= inner.caller, varargs |= inner.varargs, kwargs |= inner.kwargs;
    }
  };

  ParsedTemplate& out_;
  std::vector<Token> tokens_;
  size_t next_ = 0;
  int nesting_ = 0;
  Surroundings around_;
  Seen seen_;
  std::vector<std::pair<size_t, std::string>> unknown_;  // filters and tests that do not exist: place and message
};

// The depth of the deepest of some expressions; null ones count as none.
int deepest(std::initializer_list<const Expression*> expressions);
int deepest(const std::vector<ExpressionPtr>& expressions);
int deepest(const CallArguments& arguments);

template <typename Node>
ExpressionPtr Parser::make(size_t at, int inner, Node node) const {
  return std::make_unique<Expression>(Expression{static_cast<uint32_t>(at), checked_depth(at, inner), std::move(node)});
}

}  // namespace nibble::data::jinja
