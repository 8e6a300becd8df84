// unescape of data/jinja/lexer.h.
#include <fmt/core.h>

#include <charconv>

#include "core/utf8.h"
#include "data/jinja/lexer.h"

namespace nibble::data::jinja {
namespace {

// The character of a numeric escape of exactly `count` hexadecimal digits behind its letter.
char32_t hexadecimal(const Source& source, std::string_view literal, size_t escape, size_t count, size_t at) {
  const std::string_view digits = literal.substr(escape + 2, count);
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (digits.size() != count || error != std::errc() || end != digits.data() + count) {
    source.refuse(at + escape, fmt::format("the escape \\{} needs {} hexadecimal digits", literal[escape + 1], count));
  }
  if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
    source.refuse(at + escape, fmt::format("the escape \\{}{} is no character", literal[escape + 1], digits));
  }
  return value;
}

}  // namespace

std::string unescape(const Source& source, std::string_view literal, size_t at) {
  std::string out;
  out.reserve(literal.size());
  for (size_t i = 0; i < literal.size(); ++i) {
    if (literal[i] != '\\') {
      out += literal[i];
      continue;
    }
    const size_t escape = i++;  // the lexer ends no literal behind a single backslash
    switch (const char c = literal[i]) {
      case '\n': break;  // a line that goes on
      case '\\': case '\'': case '"': out += c; break;
      case 'a': out += '\a'; break;
      case 'b': out += '\b'; break;
      case 'f': out += '\f'; break;
      case 'n': out += '\n'; break;
      case 'r': out += '\r'; break;
      case 't': out += '\t'; break;
      case 'v': out += '\v'; break;
      case 'x': case 'u': case 'U': {
        const size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        append_utf8(out, hexadecimal(source, literal, escape, count, at));
        i += count;
        break;
      }
      case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': {
        char32_t value = 0;
        size_t end = i;
        for (; end < literal.size() && end < i + 3 && literal[end] >= '0' && literal[end] <= '7'; ++end) {
          value = value * 8 + static_cast<char32_t>(literal[end] - '0');
        }
        append_utf8(out, value);
        i = end - 1;
        break;
      }
      case 'N': source.refuse(at + escape, "characters by name (\\N{...}) are not supported; use \\u with the number");
      default: {
        // An unknown escape stays. Of a character beyond ASCII Python leaves the number, as it goes through ASCII.
        out += '\\';
        const CodePoint next = decode_utf8(literal, i);
        const auto code = static_cast<uint32_t>(next.value);
        if (code < 0x80) out += c;
        else out += code < 0x100 ? fmt::format("x{:02x}", code) : code < 0x10000 ? fmt::format("u{:04x}", code) : fmt::format("U{:08x}", code);
        i += static_cast<size_t>(next.length) - 1;
      }
    }
  }
  return out;
}

}  // namespace nibble::data::jinja
