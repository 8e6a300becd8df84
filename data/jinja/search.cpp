#include "data/jinja/search.h"

#include <string.h>

#include <algorithm>
#include <vector>

#include "core/utf8.h"

namespace nibble::data::jinja {
namespace {

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Start of the last character. REQUIRES a text that is not empty.
size_t last_start(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && continues(text[at])) --at;
  return at;
}

template <typename Strips>
std::string_view strip_if(std::string_view text, bool left, bool right, Strips strips) {
  while (left && !text.empty()) {
    const CodePoint c = decode_utf8(text, 0);
    if (!strips(c.value)) break;
    text.remove_prefix(static_cast<size_t>(c.length));
  }
  while (right && !text.empty()) {
    const size_t at = last_start(text);
    if (!strips(decode_utf8(text, at).value)) break;
    text.remove_suffix(text.size() - at);
  }
  return text;
}

}  // namespace

size_t find_text(std::string_view text, std::string_view part, size_t from, Meter& meter) {
  if (from > text.size()) return std::string_view::npos;
  if (part.empty()) return from;
  if (part.size() > text.size() - from) return std::string_view::npos;  // also of a text without bytes, whose pointer may be null
  // std::string_view::find is quadratic for some pairs of texts; memmem is not.
  const void* at = memmem(text.data() + from, text.size() - from, part.data(), part.size());
  const size_t found = at ? static_cast<size_t>(static_cast<const char*>(at) - text.data()) : std::string_view::npos;
  meter.scan((at ? found : text.size()) - from + part.size());
  return found;
}

size_t find_last_text(std::string_view text, std::string_view part, size_t end, Meter& meter) {
  text = text.substr(0, end);
  if (part.size() > text.size()) return std::string_view::npos;
  for (size_t at = text.size() - part.size() + 1; at-- > 0;) {
    if ((at & 63) == 0) meter.step();
    if (!part.empty() && text[at] != part[0]) continue;
    meter.scan(part.size() + 63);
    if (text.substr(at, part.size()) == part) return at;
  }
  return std::string_view::npos;
}

int64_t length_of(std::string_view text) {
  int64_t count = 0;
  for (const char c : text) count += !continues(c);
  return count;
}

size_t offset_of(std::string_view text, int64_t index) {
  if (index >= 0) {
    size_t at = 0;
    for (; at < text.size(); ++at) {
      if (!continues(text[at]) && index-- == 0) break;
    }
    return at;
  }
  for (size_t at = text.size(); at-- > 0;) {
    if (!continues(text[at]) && ++index == 0) return at;
  }
  return 0;
}

bool is_space(char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }

bool is_line_break(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

std::string_view strip(std::string_view text, bool left, bool right) { return strip_if(text, left, right, is_space); }

std::string_view strip(std::string_view text, bool left, bool right, std::string_view characters) {
  std::vector<char32_t> wanted;
  for (size_t at = 0; at < characters.size();) {
    const CodePoint c = decode_utf8(characters, at);
    wanted.push_back(c.value);
    at += static_cast<size_t>(c.length);
  }
  std::sort(wanted.begin(), wanted.end());
  return strip_if(text, left, right, [&](char32_t c) { return std::binary_search(wanted.begin(), wanted.end(), c); });
}

}  // namespace nibble::data::jinja
