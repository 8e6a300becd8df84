#include "data/row_file.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/error.h"

namespace nibble::data {
namespace {

bool is_json_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_json_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_json_space(text.back())) text.remove_suffix(1);
  return text;
}

// What a file that is no JSON text is; "": it may be one.
std::string_view foreign_kind(std::string_view bytes) {
  if (bytes.starts_with("\x1F\x8B")) return "gzip data (begins 1F 8B): decompress it first (gunzip)";
  if (bytes.starts_with("\x28\xB5\x2F\xFD")) return "zstd data (begins 28 B5 2F FD): decompress it first (unzstd)";
  if (bytes.starts_with("PAR1")) return "a Parquet file: convert it to JSON lines first";
  if (bytes.starts_with("PK\x03\x04")) return "a zip archive: unpack it first";
  if (bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF")) return "UTF-16 text: convert it to UTF-8 first (iconv -t UTF-8)";
  return "";
}

}  // namespace

RowFile::RowFile(const std::filesystem::path& path) : path_(path.string()) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    throw DataError("is a directory, not a file: name the file in it", Place{path_});
  }
  file_ = MappedFile(path);
  const auto bytes = file_.bytes();
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (const auto kind = foreign_kind(text); !kind.empty()) throw DataError(fmt::format("is {}", kind), Place{path_});
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const auto first = std::find_if_not(text.begin(), text.end(), is_json_space);
  if (first == text.end()) throw DataError("the file is empty: no examples", Place{path_});
  if (*first == '[') {
    split_array(text, 1);
  } else {
    split_lines(text);
  }
  if (rows_.empty()) throw DataError("the file holds no examples", Place{path_});
}

std::string RowFile::hash() const {
  const auto bytes = file_.bytes();
  return xxh3_128({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

void RowFile::split_lines(std::string_view text) {
  int64_t line = 1;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view row = trimmed(text.substr(0, end));
    if (!row.empty()) rows_.push_back({row, line});
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line;
  }
}

// Only brackets, commas and strings matter here; what lies between them is the row parser's business.
void RowFile::split_array(std::string_view text, int64_t line) {
  size_t at = text.find('[');
  line += std::count(text.begin(), text.begin() + at, '\n');
  int64_t last_line = line;  // of the last byte that is not white space
  ++at;
  const auto skip_space = [&] {
    while (at < text.size() && is_json_space(text[at])) line += text[at++] == '\n';
    if (at < text.size()) last_line = line;
  };
  const auto cut_off = [&]() -> DataError {
    return DataError("the JSON array ends early: ']' is missing (file cut off?)", Place{path_, last_line});
  };
  for (bool first = true;; first = false) {
    skip_space();
    if (at == text.size()) throw cut_off();
    if (first && text[at] == ']') {
      ++at;
      break;
    }
    const size_t begin = at;
    const int64_t begin_line = line;
    int64_t depth = 0;
    bool in_string = false;
    for (; at < text.size(); ++at) {
      const char c = text[at];
      if (c == '\n') ++line;
      if (!is_json_space(c)) last_line = line;
      if (in_string) {
        if (c == '\\') ++at;
        if (c == '"') in_string = false;
      } else if (c == '"') {
        in_string = true;
      } else if (c == '{' || c == '[') {
        ++depth;
      } else if (depth == 0 && (c == ',' || c == ']')) {
        break;
      } else if (c == '}' || c == ']') {
        --depth;
      }
    }
    if (at >= text.size()) throw cut_off();
    rows_.push_back({trimmed(text.substr(begin, at - begin)), begin_line});
    if (rows_.back().text.empty()) throw DataError("a value is missing between the commas of the JSON array", Place{path_, line});
    if (text[at++] == ']') break;
  }
  skip_space();
  if (at < text.size()) throw DataError("more text after the JSON array's end", Place{path_, line});
}

}  // namespace nibble::data
