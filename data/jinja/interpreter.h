// Runs a parsed template over variables.
//
// One interpreter is one rendering. Statements write to the innermost text being built: the output, or that of a macro, a
// set block or a filter block. Errors get the place of the innermost statement or expression they come out of.
#pragma once

#include <deque>
#include <optional>

#include "data/jinja/arguments.h"
#include "data/jinja/environment.h"
#include "data/jinja/frame.h"
#include "data/jinja/parsed.h"
#include "data/jinja/program.h"

namespace nibble::data::jinja {

class Interpreter {
 public:
  // variables: by NameId, null where there is none of the name. Both outlive the interpreter.
  Interpreter(const ParsedTemplate& parsed, std::vector<std::optional<Value>> variables, const RenderOptions& options);
  Output run();  // THROWS DataError

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };

  // Statements (execute.cpp).
  Flow execute(const Body& body);
  Flow execute(const Statement& statement);
  Flow execute(const Data& data);
  Flow execute(const Print& print);
  Flow execute(const If& branch);
  Flow execute(const For& loop);
  Flow execute(const Set& set);
  Flow execute(const SetBlock& set);
  Flow execute(const Macro& macro);
  Flow execute(const CallBlock& block);
  Flow execute(const FilterBlock& block);
  Flow execute(const With& with);
  Flow execute(const Generation& generation);
  Flow execute(const Break&) { return Flow::kBreak; }
  Flow execute(const Continue&) { return Flow::kContinue; }
  void assign(const Target& target, const Value& value);
  Text execute_to_text(const Body& body, Flow& flow);  // in a scope of its own

  // Expressions (evaluate.cpp).
  Value evaluate(const Expression& expression);
  Value evaluate(const Constant& constant) { return constant.value; }
  Value evaluate(const Name& name);
  Value evaluate(const BlockText&) { return Value(block_text_); }
  Value evaluate(const ListLiteral& list);
  Value evaluate(const DictLiteral& dict);
  Value evaluate(const Attribute& attribute);
  Value evaluate(const Item& item);
  Value evaluate(const Slice& slice);
  Value evaluate(const Call& call);
  Value evaluate(const FilterCall& filter);
  Value evaluate(const TestCall& test);
  Value evaluate(const Not& operation);
  Value evaluate(const Sign& sign);
  Value evaluate(const Binary& operation);
  Value evaluate(const Concatenation& concatenation);
  Value evaluate(const Compare& compare);
  Value evaluate(const And& operation);
  Value evaluate(const Or& operation);
  Value evaluate(const Conditional& conditional);

  // Calls (call.cpp).
  Arguments evaluate_arguments(const CallArguments& arguments);
  Value call(const Value& callee, Arguments arguments);
  Value call_macro(const MacroValue& value, Arguments arguments);
  Value call_with_caller(const Call& call, const Value& caller);
  const MacroValue* make_macro(const Macro& macro);

  template <typename Node>
  auto placed(uint32_t at, Node run) -> decltype(run());

  // Puts a new scope inside of `around` for as long as it lives.
  class Scope {
   public:
    Scope(Interpreter& interpreter, Frame* around);
    ~Scope() { interpreter_.frame_ = old_; }
    Scope(const Scope&) = delete;
    Frame& frame() { return *frame_; }

   private:
    Interpreter& interpreter_;
    Frame* old_;
    std::shared_ptr<Frame> frame_;
  };

  const ParsedTemplate& parsed_;
  std::vector<std::optional<Value>> variables_;
  Environment environment_;
  TextBuilder* out_ = nullptr;
  Frame* frame_ = nullptr;
  Text block_text_;                            // for BlockText
  int nesting_ = 0;
  std::vector<std::shared_ptr<Frame>> kept_;   // scopes that macros still look into
  std::deque<MacroValue> macros_;
};

}  // namespace nibble::data::jinja
