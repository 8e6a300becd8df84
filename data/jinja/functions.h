// The functions that every template has: range, dict, namespace, raise_exception, strftime_now.
#pragma once

#include "data/jinja/arguments.h"
#include "data/jinja/environment.h"

namespace nibble::data::jinja {

std::optional<Global> find_global(std::string_view name);

// THROWS Failure where the arguments do not fit; raise_exception always, with its text.
Value call_global(Environment& environment, Global global, const Arguments& arguments);

// namespace.attribute = value. THROWS Failure for names that begin with an underscore, which transformers forbids.
void set_attribute(Environment& environment, Namespace& ns, const Text& name, const Value& value);

}  // namespace nibble::data::jinja
