// A parsed template: statements and expressions as trees. Nodes know the byte of the source they stand at; names are
// numbers into Parsed's list, so that looking up a variable compares no strings.
#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "data/jinja/value.h"

namespace nibble::data::jinja {

struct Filter;
struct Test;
struct Method;

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

using NameId = uint32_t;

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string_view, ExpressionPtr>> keywords;
  ExpressionPtr more_positional;  // *list; null: none
  ExpressionPtr more_keywords;    // **dict
};

struct Constant { Value value; };
struct Name { NameId id; };
struct BlockText {};  // what stands in the filter block or set block around the expression
struct ListLiteral { SequenceKind kind; std::vector<ExpressionPtr> items; };
struct DictLiteral { std::vector<std::pair<ExpressionPtr, ExpressionPtr>> items; };
struct Attribute {
  ExpressionPtr object;
  std::string_view name;
  const Method* of_string = nullptr;  // the method that the name means for a string; null: none
};
struct Item { ExpressionPtr object; ExpressionPtr key; };
struct Slice { ExpressionPtr object, start, stop, step; };  // bounds: null where left out
struct Call { ExpressionPtr callee; CallArguments arguments; };
struct FilterCall { ExpressionPtr operand; const Filter* filter; std::string_view name; CallArguments arguments; };
struct TestCall { ExpressionPtr operand; const Test* test; std::string_view name; CallArguments arguments; };
struct Not { ExpressionPtr operand; };
struct Sign { bool minus; ExpressionPtr operand; };
enum class Arithmetic : uint8_t { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
struct Binary { Arithmetic operation; ExpressionPtr left, right; };
struct Concatenation { std::vector<ExpressionPtr> parts; };
enum class Comparison : uint8_t { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };
struct Compare { ExpressionPtr first; std::vector<std::pair<Comparison, ExpressionPtr>> rest; };  // a < b < c: each pair
struct And { ExpressionPtr left, right; };
struct Or { ExpressionPtr left, right; };
struct Conditional { ExpressionPtr test, then, otherwise; };  // otherwise: null where left out

struct Expression {
  uint32_t at = 0;
  int depth = 1;  // of expressions inside each other, this one included
  std::variant<Constant, Name, BlockText, ListLiteral, DictLiteral, Attribute, Item, Slice, Call, FilterCall, TestCall, Not,
               Sign, Binary, Concatenation, Compare, And, Or, Conditional>
      node;
};

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

// What is assigned to: a name, an attribute of a namespace, or several of them.
struct Target {
  uint32_t at = 0;
  NameId name = 0;
  std::string_view attribute;  // "": the name itself
  std::vector<Target> parts;   // not empty: a tuple of targets, and no name
  bool is_tuple = false;
};

struct Data { Text text; };
struct Print { ExpressionPtr value; };
struct If { std::vector<std::pair<ExpressionPtr, Body>> branches; Body otherwise; };
struct For {
  Target target;
  ExpressionPtr over, test;  // test: null where there is none
  Body body, otherwise;
  bool uses_loop = false;    // the name "loop" occurs inside
};
struct Set { Target target; ExpressionPtr value; };
struct SetBlock { Target target; ExpressionPtr value; Body body; };  // value: filters around BlockText, or that alone
struct Macro {
  std::string_view name;  // "": of a call block
  NameId id = 0;
  struct Parameter { NameId id; std::string_view name; ExpressionPtr standard; };  // standard: its default, or null
  std::vector<Parameter> parameters;
  Body body;
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
};
struct CallBlock { ExpressionPtr call; Macro caller; };
struct FilterBlock { ExpressionPtr value; Body body; };
struct With { std::vector<std::pair<Target, ExpressionPtr>> assignments; Body body; };
struct Generation { Body body; };
struct Break {};
struct Continue {};

struct Statement {
  uint32_t at = 0;
  std::variant<Data, Print, If, For, Set, SetBlock, Macro, CallBlock, FilterBlock, With, Generation, Break, Continue> node;
};

}  // namespace nibble::data::jinja
