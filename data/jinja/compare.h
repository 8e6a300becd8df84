// ==, < and `in` as Python has them.
#pragma once

#include "data/jinja/value.h"

namespace nibble::data::jinja {

// Numbers (booleans among them) by value, strings, lists, tuples and dictionaries by content, all else by identity.
bool equal(const Value& left, const Value& right, Meter& meter);

// THROWS Failure where the two have no order: numbers and strings do among themselves, lists and tuples by elements.
bool less(const Value& left, const Value& right, Meter& meter);
bool less_or_equal(const Value& left, const Value& right, Meter& meter);

// THROWS Failure where `container` has no elements.
bool contains(const Value& container, const Value& item, Meter& meter);

// std::sort's order for sorting filters, stable; the keys are compared, the values carried along.
struct Keyed {
  Value key;
  Value value;
};
void sort_by_key(std::vector<Keyed>& items, bool reverse, Meter& meter);

}  // namespace nibble::data::jinja
