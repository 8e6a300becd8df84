// The values that a template works with: Python's, as far as JSON and Jinja know them.
//
// Integers are 64-bit: what would leave that range is an error (Python's are unbounded). Lists, tuples and dictionaries
// are shared and never change once made, as in jinja2's immutable sandbox; what can change (namespaces, the loop, what is
// left of a generator) belongs to one rendering.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "data/jinja/text.h"

namespace nibble::data::jinja {

class Value;
class Dict;
struct Sequence;
struct Namespace;
class LoopState;
struct BoundMethod;
struct MacroValue;

// What a name, attribute or element that does not exist gives: empty when printed, false, without elements; any other
// use is an error that says what was missing.
struct Undefined {
  enum class Reason : uint8_t {
    kVariable,     // no variable `name`
    kAttribute,    // `owner` (a type's name) has no attribute or element `name`
    kElement,      // `owner` has no element of a computed key
    kUnsafe,       // the sandbox hides `name` of `owner`
    kParameter,    // a macro was called without its parameter `name`
    kOther,        // `name` is the whole explanation
  };
  std::string_view name;  // of the template's text, or a literal
  const char* owner = "";
  Reason reason = Reason::kVariable;

  std::string message() const;
};

struct None {};

// Functions without a state of their own.
enum class Global : uint8_t { kRange, kDict, kNamespace, kRaiseException, kStrftimeNow };

struct LoopMethod {
  enum class Kind : uint8_t { kCycle, kChanged } kind;
  std::shared_ptr<LoopState> loop;
};

// Namespaces and macros are pointed to without ownership: the interpreter keeps them until the rendering ends, so that no
// cycle of values can leak.
using ValueVariant = std::variant<Undefined, None, bool, int64_t, double, Text, std::shared_ptr<const Sequence>,
                                  std::shared_ptr<const Dict>, Namespace*, std::shared_ptr<LoopState>, const MacroValue*,
                                  Global, LoopMethod, std::shared_ptr<const BoundMethod>>;

class Value {
 public:
  Value() : v_(None{}) {}
  Value(Undefined u) : v_(u) {}
  Value(bool b) : v_(b) {}
  Value(int64_t i) : v_(i) {}
  Value(double d) : v_(d) {}
  Value(Text text) : v_(std::move(text)) {}
  Value(std::shared_ptr<const Sequence> s) : v_(std::move(s)) {}
  Value(std::shared_ptr<const Dict> d) : v_(std::move(d)) {}
  Value(Namespace* n) : v_(n) {}
  Value(std::shared_ptr<LoopState> l) : v_(std::move(l)) {}
  Value(const MacroValue* m) : v_(m) {}
  Value(Global g) : v_(g) {}
  Value(LoopMethod m) : v_(std::move(m)) {}
  Value(std::shared_ptr<const BoundMethod> m) : v_(std::move(m)) {}
  Value(const char*) = delete;  // would become a bool

  template <typename T>
  const T* get() const { return std::get_if<T>(&v_); }
  const ValueVariant& variant() const { return v_; }

  bool is_undefined() const { return std::holds_alternative<Undefined>(v_); }
  bool is_none() const { return std::holds_alternative<None>(v_); }
  const Text* text() const { return get<Text>(); }
  const Sequence* sequence() const {
    const auto* s = get<std::shared_ptr<const Sequence>>();
    return s ? s->get() : nullptr;
  }
  const Dict* dict() const {
    const auto* d = get<std::shared_ptr<const Dict>>();
    return d ? d->get() : nullptr;
  }

 private:
  ValueVariant v_;
};

enum class SequenceKind : uint8_t { kList, kTuple, kRange, kKeys, kValues, kItems, kGenerator };

// Everything that holds values in a row. A generator (map, select, items, reverse) can be gone through once; it has no
// length and no elements by number.
struct Sequence {
  SequenceKind kind = SequenceKind::kList;
  int depth = 1;  // of lists and dictionaries inside each other, this one included
  std::vector<Value> items;
  int64_t start = 0, stop = 0, step = 1;  // kRange
  mutable size_t next = 0;                // kGenerator: what has not been taken yet
};

// Keys and values in the order of insertion. Keys are strings, numbers, booleans, none or tuples of them.
class Dict {
 public:
  // Replaces the value where the key is there. THROWS Failure where the key cannot be one (a list), or too deep.
  void set(const Value& key, const Value& value, Meter& meter);
  const Value* find(std::string_view key) const;
  const Value* find(const Value& key, Meter& meter) const;  // THROWS Failure where the key cannot be one
  const std::vector<std::pair<Value, Value>>& items() const { return items_; }
  int depth() const { return depth_; }

 private:
  size_t position(std::string_view key) const;               // items_.size(): not there
  size_t position(const Value& key, Meter& meter) const;

  std::vector<std::pair<Value, Value>> items_;
  std::unordered_map<std::string_view, size_t> index_;  // of strings, once there are many
  int depth_ = 1;
};

struct Namespace {
  std::vector<std::pair<Text, Value>> attributes;  // few; in order of insertion

  const Value* find(std::string_view name) const;
  void set(const Text& name, const Value& value);
};

// THROWS Failure where lists would stand in each other too deep, or the meter is used up.
Value make_sequence(SequenceKind kind, std::vector<Value> items, Meter& meter);
Value make_list(std::vector<Value> items, Meter& meter);
Value make_dict(Dict dict, Meter& meter);

// Python's name of the type: 'str', 'NoneType', ...
const char* type_name(const Value& value);

bool truthy(const Value& value);

// A boolean or an integer as an integer.
std::optional<int64_t> as_integer(const Value& value);

// The value's elements, as a for loop sees them: of a string its characters, of a dictionary its keys. Uses a generator
// up. THROWS Failure where the value has no elements.
std::vector<Value> elements(const Value& value, Meter& meter);

// THROWS Failure with the explanation of an undefined value; else does nothing.
void require_defined(const Value& value);

}  // namespace nibble::data::jinja
