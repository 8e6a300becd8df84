// How the interpreter counts depth and gives errors their place.
#pragma once

#include "core/error.h"
#include "data/jinja/interpreter.h"

namespace nibble::data::jinja {

template <typename Node>
auto Interpreter::placed(uint32_t at, Node run) -> decltype(run()) {
  struct Nested {
    int& nesting;
    explicit Nested(int& n) : nesting(n) { ++nesting; }
    ~Nested() { --nesting; }
  };
  const Nested nested(nesting_);
  try {
    environment_.meter.step();
    if (nesting_ > environment_.meter.limits().nesting) throw Failure("macros call each other too deep");
    return run();
  } catch (const Failure& failure) {
    throw DataError(failure.what(), parsed_.source.place(at));
  }
}

}  // namespace nibble::data::jinja
