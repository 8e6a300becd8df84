// What Python's str knows of characters: case and classes. ASCII is answered at once; classes beyond it by PCRE2's Unicode
// properties, case by a table (case_table.cpp), both of Unicode 14 as in Python 3.11.
#pragma once

#include <string>
#include <string_view>

namespace nibble::data::jinja {

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);       // a sigma at the end of a word becomes the final one
std::string to_title(std::string_view text);       // str.title: each run of letters begins with a capital
std::string capitalized(std::string_view text);    // the first character in title case, the rest lower
std::string swapped_case(std::string_view text);

enum class CharacterClass { kAlpha, kDecimal, kDigit, kNumeric, kLower, kUpper, kCased, kCaseIgnorable, kPrintable };

bool is_of(CharacterClass of, char32_t c);
inline bool is_printable(char32_t c) { return is_of(CharacterClass::kPrintable, c); }

}  // namespace nibble::data::jinja
