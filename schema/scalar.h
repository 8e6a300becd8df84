// Our own grammar for values: what YAML would guess, we refuse. true/false are the only booleans; integers have no
// leading zeros or exponents; a quoted number is text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nibble::schema {

std::optional<bool> parse_bool(std::string_view text);
std::optional<int64_t> parse_integer(std::string_view text);
std::optional<double> parse_number(std::string_view text);  // finite

// The shortest text that parse_number reads back as the same value.
std::string number_text(double value);
// Plain where YAML and our grammar read it back as the same text, else double-quoted.
std::string string_text(std::string_view value);

// Insertions, deletions, substitutions and swaps of neighbours between two names.
int64_t edit_distance(std::string_view a, std::string_view b);

}  // namespace nibble::schema
