// Getting at parts of values: attributes, items and slices, with what Python and jinja2's sandbox say of each type.
#pragma once

#include <string_view>

#include "data/jinja/environment.h"

namespace nibble::data::jinja {

// object.name: a method, or else the item of that key; undefined where there is neither.
// THROWS Failure where the object itself is undefined.
Value attribute_of(Environment& environment, const Value& object, std::string_view name);

// object[key]: the item, or else, where the key is a string, the method. Negative indices count from the end.
// THROWS Failure where the object itself is undefined.
Value item_of(Environment& environment, const Value& object, const Value& key);

// object[start:stop:step] of strings (by characters), lists, tuples and ranges. THROWS Failure for anything else.
Value slice_of(Environment& environment, const Value& object, const Value& start, const Value& stop, const Value& step);

}  // namespace nibble::data::jinja
