// Methods of strings that ask what their characters are: isdigit, isupper and their kin.
#include "core/utf8.h"
#include "data/jinja/characters.h"
#include "data/jinja/methods.h"
#include "data/jinja/search.h"

namespace nibble::data::jinja {
namespace {

using Class = CharacterClass;

template <typename Holds>
bool all_characters(Environment& environment, const Value& self, bool of_empty, Holds holds) {
  const std::string_view text = self.text()->bytes();
  environment.meter.step(static_cast<int64_t>(text.size() / 4));
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    if (!holds(c.value)) return false;
    at += static_cast<size_t>(c.length);
  }
  return of_empty || !text.empty();
}

template <Class of>
Value string_is(Environment& environment, const Value& self, const Arguments& arguments) {
  bind_none("the method", arguments);
  return Value(all_characters(environment, self, of == Class::kPrintable, [](char32_t c) { return is_of(of, c); }));
}

// isupper and islower: at least one letter with case, and none of the other.
template <Class wanted, Class other>
Value string_has_case(Environment& environment, const Value& self, const Arguments& arguments) {
  bind_none("the method", arguments);
  bool any = false;
  const bool none_other = all_characters(environment, self, false, [&](char32_t c) {
    any |= is_of(wanted, c);
    // A character in title case (a digraph) is neither.
    return !is_of(other, c) && !(is_of(Class::kCased, c) && !is_of(wanted, c));
  });
  return Value(any && none_other);
}

Value string_isspace(Environment& environment, const Value& self, const Arguments& arguments) {
  bind_none("isspace()", arguments);
  return Value(all_characters(environment, self, false, is_space));
}

Value string_isascii(Environment& environment, const Value& self, const Arguments& arguments) {
  bind_none("isascii()", arguments);
  return Value(all_characters(environment, self, true, [](char32_t c) { return c < 0x80; }));
}

Value string_isalnum(Environment& environment, const Value& self, const Arguments& arguments) {
  bind_none("isalnum()", arguments);
  return Value(all_characters(environment, self, false, [](char32_t c) { return is_of(Class::kAlpha, c) || is_of(Class::kNumeric, c); }));
}

constexpr auto kCallable = Method::Kind::kCallable;
constexpr auto kUnsupported = Method::Kind::kUnsupported;

const Method kMethods[] = {
    {"isalnum", kCallable, string_isalnum}, {"isalpha", kCallable, string_is<Class::kAlpha>}, {"isascii", kCallable, string_isascii},
    {"isdecimal", kCallable, string_is<Class::kDecimal>}, {"isdigit", kCallable, string_is<Class::kDigit>},
    {"isidentifier", kUnsupported}, {"islower", kCallable, string_has_case<Class::kLower, Class::kUpper>},
    {"isnumeric", kCallable, string_is<Class::kNumeric>}, {"isprintable", kCallable, string_is<Class::kPrintable>},
    {"isspace", kCallable, string_isspace}, {"istitle", kUnsupported},
    {"isupper", kCallable, string_has_case<Class::kUpper, Class::kLower>},
};

}  // namespace

MethodTable string_class_methods() { return {std::begin(kMethods), std::end(kMethods)}; }

}  // namespace nibble::data::jinja
