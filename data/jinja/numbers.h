// Numbers from texts, and rounding, as Python's int(), float() and round() do it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace nibble::data::jinja {

// White space around, a sign, single underscores between digits, and the prefix of the base (0x) where base is that or 0.
// nullopt: not an integer of that form, or one of more than 64 bits.
std::optional<int64_t> read_integer(std::string_view text, int64_t base);

// As above with fraction and exponent; inf, infinity and nan in any case.
std::optional<double> read_float(std::string_view text);

// To `digits` decimals of the number's exact value, halves to even.
double rounded(double value, int64_t digits);

}  // namespace nibble::data::jinja
