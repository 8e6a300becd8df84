// The words of a template.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nibble::data::jinja {

enum class TokenKind : uint8_t {
  kData,            // text between tags; value
  kBlockBegin,      // {%
  kBlockEnd,
  kVariableBegin,   // {{
  kVariableEnd,
  kName,            // value
  kString,          // value, escapes replaced
  kInteger,         // integer
  kFloat,           // number
  kOperator,        // value: "+", "**", "(", ...
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  uint32_t at = 0;     // byte of the source
  std::string value;
  int64_t integer = 0;
  double number = 0;

  bool is_name(std::string_view name) const { return kind == TokenKind::kName && value == name; }
  bool is_operator(std::string_view text) const { return kind == TokenKind::kOperator && value == text; }
};

}  // namespace nibble::data::jinja
