// Methods of strings, lists, tuples and dictionaries: what Python's types have and a template may call.
#pragma once

#include "data/jinja/arguments.h"
#include "data/jinja/environment.h"

namespace nibble::data::jinja {

struct Method {
  enum class Kind : uint8_t {
    kCallable,
    kUnsafe,       // changes its object: the sandbox hides it
    kUnsupported,  // Python has it, nibble has not
  };
  std::string_view name;
  Kind kind = Kind::kCallable;
  Value (*call)(Environment&, const Value& self, const Arguments&) = nullptr;
};

struct BoundMethod {
  Value self;
  const Method* method;
};

// Null: no such method.
const Method* find_string_method(std::string_view name);
const Method* find_method(const Value& object, std::string_view name);

// THROWS Failure where the method is unsafe or not supported, or refuses its arguments.
Value call_method(Environment& environment, const Method& method, const Value& self, const Arguments& arguments);

// The methods of strings by what they do; each table is sorted by name. string_methods.cpp joins them.
struct MethodTable {
  const Method* begin;
  const Method* end;
};
MethodTable string_splitting_methods();   // split, strip, partition, splitlines, ...
MethodTable string_searching_methods();   // find, startswith, count, replace, ...
MethodTable string_writing_methods();     // upper, join, center, format, ...
MethodTable string_class_methods();       // isdigit, isupper, ...

}  // namespace nibble::data::jinja
