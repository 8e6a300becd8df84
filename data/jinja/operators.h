// Arithmetic as Python has it: integers and booleans exactly (in 64 bits), floats, strings and lists joined and repeated.
#pragma once

#include "data/jinja/ast.h"
#include "data/jinja/environment.h"

namespace nibble::data::jinja {

// THROWS Failure where the types do not fit, a divisor is 0 or an integer leaves 64 bits.
Value calculate(Arithmetic operation, const Value& left, const Value& right, Environment& environment);

// -value, +value.
Value with_sign(bool minus, const Value& value);

// "format" % values: %s, %d, %i, %r, %f with flags, width and precision, and %%. values: a tuple, one value, or a dictionary for
// %(name)s. THROWS Failure for any other conversion.
Value format_percent(const Text& format, const Value& values, Environment& environment);

}  // namespace nibble::data::jinja
