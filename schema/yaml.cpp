#include "schema/yaml.h"

#include <fmt/core.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <map>
#include <sstream>

#include "core/utf8.h"

namespace nibble::schema {
namespace {

constexpr size_t kMaxEntries = 1000;  // more than there are keys and aliases: what is left out is not all that is wrong

// The file's text by line, to look at what yaml-cpp's marks point to.
class Lines {
 public:
  explicit Lines(std::string_view text) : text_(text) {
    starts_.push_back(0);
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\n') starts_.push_back(i + 1);
    }
  }

  // Whether the quote at the mark, if there is one, is closed: at the file's end yaml-cpp 0.7 closes it silently, and all
  // keys in between are lost in the text.
  bool quote_is_closed(const YAML::Mark& mark) const {
    if (mark.line < 0 || static_cast<size_t>(mark.line) >= starts_.size()) return true;
    const size_t open = starts_[mark.line] + static_cast<size_t>(mark.column);
    if (open >= text_.size() || (text_[open] != '"' && text_[open] != '\'')) return true;
    const char quote = text_[open];
    for (size_t i = open + 1; i < text_.size(); ++i) {
      if (quote == '"' && text_[i] == '\\') {
        ++i;
      } else if (text_[i] == quote) {
        if (quote == '"' || i + 1 == text_.size() || text_[i + 1] != quote) return true;
        ++i;
      }
    }
    return false;
  }

 private:
  std::string_view text_;
  std::vector<size_t> starts_;
};

// Collects yaml-cpp's events. Depth 1 is the mapping, depth 2 a list in it; anything deeper is refused. An entry that was
// refused is left out of the result, so that nothing else is said about it.
class Collector : public YAML::EventHandler {
 public:
  Collector(const std::string& file, const Lines& lines, std::vector<Finding>& findings) : file_(file), lines_(lines), findings_(findings) {}

  // The entries that could be read, the first of each name; the others are findings.
  std::vector<YamlEntry> take() {
    std::vector<YamlEntry> good;
    std::map<std::string, int64_t> first_line;
    for (Collected& c : entries_) {
      const YamlScalar& key = c.entry.key;
      if (c.refused && key.text.empty()) continue;
      const auto [at, is_new] = first_line.emplace(key.text, key.line);
      if (!is_new) {
        findings_.push_back({file_, key.line, key.column,
                             fmt::format("key '{}' is already set in line {}; keep one of them", key.text, at->second)});
      } else if (!c.refused) {
        good.push_back(std::move(c.entry));
      }
    }
    return good;
  }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { scalar(mark, "", false, false); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    scalar(mark, "", false, refuse(mark, "aliases (*name) are not supported; write the value out"));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, const std::string& value) override {
    bool refused = refuse_tag(mark, tag);
    if (tag == "!" && !lines_.quote_is_closed(mark)) refused = refuse(mark, "not valid YAML: the quote that opens here is never closed");
    scalar(mark, value, tag == "!", refused);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, YAML::EmitterStyle::value) override {
    ++depth_;
    const bool refused = refuse_tag(mark, tag);
    if (depth_ == 1) refuse(mark, "the file is a list; it must be a mapping of keys to values");
    if (depth_ > 1) nested(refused, mark, depth_ == 2, "a list in a list or mapping is not a value of any key");
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, YAML::EmitterStyle::value) override {
    ++depth_;
    is_mapping_ |= depth_ == 1;
    const bool refused = refuse_tag(mark, tag);
    if (depth_ > 1) nested(refused, mark, false, "keys are flat: a mapping is not a value of any key");
  }
  void OnMapEnd() override { close(); }
  // Told before the value that the anchor is on.
  void OnAnchor(const YAML::Mark& mark, const std::string&) override {
    anchored_ = refuse(mark, "anchors (&name) are not supported; write the value where it is used");
  }

 private:
  struct Collected {
    YamlEntry entry;
    bool refused = false;
  };

  bool refuse(const YAML::Mark& mark, const std::string& message) {
    findings_.push_back({file_, mark.line + 1, mark.column + 1, message});
    return true;
  }
  // "?": plain, "!": quoted; anything else was written as a tag.
  bool refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    return tag != "?" && tag != "!" && !tag.empty() && refuse(mark, fmt::format("tags ({}) are not supported; write the plain value", tag));
  }

  void add_key(const YamlScalar& key, bool refused) {
    if (entries_.size() == kMaxEntries) refused = true;
    if (entries_.size() <= kMaxEntries) entries_.push_back({{key, false, {}}, refused});
  }

  // A list or mapping at depth 2 or deeper.
  void nested(bool refused, const YAML::Mark& mark, bool allowed_as_value, const std::string& message) {
    if (anchored_) refused = true;
    anchored_ = false;
    if (!is_mapping_) return;  // refused already, as a whole
    if (depth_ == 2 && !have_key_) {
      refuse(mark, "a key must be a name");
      add_key({}, true);
      key_is_nested_ = true;
    } else if (!key_is_nested_) {
      Collected& current = entries_.back();
      if (allowed_as_value) {
        current.entry.is_list = true;
      } else if (!current.refused) {
        refused = refuse(mark, message);
      }
      current.refused |= refused;
    }
  }

  void close() {
    if (depth_ == 2) {
      have_key_ = key_is_nested_;  // after a nested key comes its value
      key_is_nested_ = false;
    }
    --depth_;
  }

  void scalar(const YAML::Mark& mark, const std::string& text, bool quoted, bool refused) {
    YamlScalar value{text, quoted, mark.line + 1, mark.column + 1};
    // yaml-cpp puts a value that is not there where the next thing begins.
    if (text.empty() && !quoted && have_key_ && depth_ == 1 && !entries_.empty() && entries_.back().entry.key.line != value.line) {
      value = {"", false, entries_.back().entry.key.line, entries_.back().entry.key.column};
    }
    if (anchored_) refused = true;
    anchored_ = false;
    if (depth_ == 0) {
      if (!text.empty()) refuse(mark, "the file is a single value; it must be a mapping of keys to values");
    } else if (depth_ == 1 && is_mapping_ && !have_key_) {
      add_key(value, refused);
      have_key_ = true;
    } else if (have_key_ && depth_ <= 2) {
      entries_.back().refused |= refused;
      entries_.back().entry.values.push_back(value);
      if (depth_ == 1) have_key_ = false;
    }
  }

  const std::string& file_;
  const Lines& lines_;
  std::vector<Finding>& findings_;
  std::vector<Collected> entries_;
  int depth_ = 0;
  bool is_mapping_ = false, have_key_ = false, key_is_nested_ = false, anchored_ = false;
};

}  // namespace

std::string Finding::text() const {
  if (line == 0) return fmt::format("{}: error: {}", file, message);
  return fmt::format("{}:{}:{}: error: {}", file, line, column, message);
}

std::vector<YamlEntry> read_yaml(std::string_view text, const std::string& file, std::vector<Finding>& findings) {
  if (text.size() > kMaxYamlBytes) {
    findings.push_back({file, 0, 0, fmt::format("the file has {} bytes; a configuration has at most {}", text.size(), kMaxYamlBytes)});
    return {};
  }
  if (const size_t at = text.find('\0'); at != text.npos) {
    findings.push_back({file, 0, 0, fmt::format("a NUL byte at byte {}: not a text file", at)});
    return {};
  }
  // yaml-cpp would replace the bytes.
  if (const auto at = first_invalid_utf8(text)) {
    findings.push_back({file, 0, 0, fmt::format("byte {} is not UTF-8; save the file in that encoding", *at)});
    return {};
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // a byte order mark, as Windows editors write it
  // yaml-cpp recurses into nested brackets; no key needs more than one level.
  int nesting = 0;
  for (char c : text) {
    nesting += c == '[' || c == '{' ? 1 : c == ']' || c == '}' ? -1 : 0;
    if (nesting > 64) {
      findings.push_back({file, 0, 0, "more than 64 nested brackets"});
      return {};
    }
  }
  const Lines lines(text);
  Collector collector(file, lines, findings);
  std::istringstream stream{std::string(text)};
  try {
    YAML::Parser parser(stream);
    parser.HandleNextDocument(collector);
    std::vector<Finding> ignored;
    Collector second(file, lines, ignored);
    if (parser && parser.HandleNextDocument(second)) {
      findings.push_back({file, 0, 0, "the file has more than one document (---); keep one"});
    }
  } catch (const YAML::Exception& e) {
    findings.push_back({file, e.mark.line + 1, e.mark.column + 1, fmt::format("not valid YAML: {}", e.msg)});
  }
  return collector.take();
}

}  // namespace nibble::schema
