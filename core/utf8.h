// UTF-8 as the tokenizers and the readers need it: strict decoding, lossy repair, and the Unicode White_Space property.
//
// "Strict" is RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. The repair replaces every maximal
// ill-formed part by U+FFFD, as the Unicode standard recommends (3.9, "U+FFFD Substitution of Maximal Subparts") and as
// Rust's from_utf8_lossy does, whose output the Hugging Face tokenizers give.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace nibble {

struct CodePoint {
  char32_t value = 0;
  int length = 0;      // bytes read, 1..4; where not valid: of the maximal ill-formed part
  bool valid = false;
};

// REQUIRES at < text.size().
CodePoint decode_utf8(std::string_view text, size_t at);

void append_utf8(std::string& out, char32_t value);

// Byte offset of the first ill-formed part; nullopt: the text is valid.
std::optional<size_t> first_invalid_utf8(std::string_view text);

std::string repair_utf8(std::string_view text);

// Unicode property White_Space.
bool is_white_space(char32_t c);

}  // namespace nibble
