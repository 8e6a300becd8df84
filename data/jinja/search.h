// Searching in strings and walking over their characters, in time that grows with the length and is counted.
#pragma once

#include <cstdint>
#include <string_view>

#include "data/jinja/limits.h"

namespace nibble::data::jinja {

// Byte offset of the first occurrence at or after `from`; npos: none. Linear, also for hostile texts.
size_t find_text(std::string_view text, std::string_view part, size_t from, Meter& meter);

// Byte offset of the last occurrence that ends at or before `end`.
size_t find_last_text(std::string_view text, std::string_view part, size_t end, Meter& meter);

// Code points.
int64_t length_of(std::string_view text);

// Byte offset of character `index`, counted from the end where negative; clamped to [0, size].
size_t offset_of(std::string_view text, int64_t index);

// White space as Python's str.isspace and str.strip see it: Unicode White_Space and the separators U+001C to U+001F.
bool is_space(char32_t c);

// Ends of lines as str.splitlines sees them.
bool is_line_break(char32_t c);

// Without white space, or without the characters of `characters`.
std::string_view strip(std::string_view text, bool left, bool right);
std::string_view strip(std::string_view text, bool left, bool right, std::string_view characters);

}  // namespace nibble::data::jinja
