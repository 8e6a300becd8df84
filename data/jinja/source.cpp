#include "data/jinja/source.h"

#include <algorithm>

#include "core/utf8.h"
#include "data/jinja/search.h"

namespace nibble::data::jinja {

namespace {
constexpr size_t kMostBytes = size_t{16} << 20;  // published templates have up to 30 KB
}

Place Source::place(size_t at) const {
  const std::string_view before = std::string_view(text).substr(0, at);
  const size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0
  return {name, 1 + std::count(before.begin(), before.end(), '\n'), 1 + length_of(before.substr(line_begin)), -1};
}

void Source::refuse(size_t at, const std::string& message) const { throw FormatError(message, place(at)); }

Source make_source(std::string_view text, std::string name) {
  if (const auto bad = first_invalid_utf8(text)) {
    throw FormatError("the chat template is not valid UTF-8", name, static_cast<int64_t>(*bad));
  }
  if (text.size() > kMostBytes) throw FormatError("the chat template has more than 16 MiB", name);
  Source source{std::move(name), {}};
  source.text.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    source.text += text[i] == '\r' ? '\n' : text[i];
  }
  if (!source.text.empty() && source.text.back() == '\n') source.text.pop_back();
  return source;
}

}  // namespace nibble::data::jinja
