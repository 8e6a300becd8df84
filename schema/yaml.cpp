#include "schema/yaml.h"

#include <fmt/core.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <map>
#include <sstream>

namespace nibble::schema {
namespace {

constexpr size_t kMaxBytes = 1 << 20;   // a configuration is a page
constexpr size_t kMaxEntries = 10000;

// Collects yaml-cpp's events. Depth 1 is the mapping, depth 2 a list in it; anything deeper is refused once.
class Collector : public YAML::EventHandler {
 public:
  Collector(const std::string& file, std::vector<Finding>& findings) : file_(file), findings_(findings) {}

  std::vector<YamlEntry> entries;

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { scalar(mark, "", anchor, "", false); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(mark, "aliases (*name) are not supported; write the value out");
    scalar(mark, "", 0, "", false);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
    // "?": plain, "!": quoted; anything else was written as a tag.
    if (tag != "?" && tag != "!" && !tag.empty()) refuse(mark, fmt::format("tags ({}) are not supported; write the plain value", tag));
    scalar(mark, tag, anchor, value, tag == "!");
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    if (anchor != 0) refuse(mark, "anchors (&name) are not supported");
    ++depth_;
    if (depth_ == 1) refuse(mark, "the file is a list; it must be a mapping of keys to values");
    if (depth_ == 2 && have_key_) current().is_list = true;
    if (depth_ == 2 && !have_key_) refuse(mark, "a key must be a name");
    if (depth_ > 2) refuse(mark, "a list in a list is not a value of any key");
  }
  void OnSequenceEnd() override {
    if (depth_ == 2) have_key_ = false;
    --depth_;
  }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    if (anchor != 0) refuse(mark, "anchors (&name) are not supported");
    ++depth_;
    if (depth_ > 1) refuse(mark, "keys are flat: a mapping is not a value of any key");
  }
  void OnMapEnd() override {
    --depth_;
    if (depth_ == 1) have_key_ = false;
  }
  void OnAnchor(const YAML::Mark& mark, const std::string&) override { refuse(mark, "anchors (&name) are not supported"); }

 private:
  YamlEntry& current() { return entries.back(); }

  void refuse(const YAML::Mark& mark, const std::string& message) {
    findings_.push_back({file_, mark.line + 1, mark.column + 1, message});
  }

  void scalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t, const std::string& text, bool quoted) {
    const YamlScalar value{text, quoted, mark.line + 1, mark.column + 1};
    if (depth_ == 0) {
      if (!text.empty()) refuse(mark, "the file is a single value; it must be a mapping of keys to values");
      return;
    }
    if (depth_ == 1 && !have_key_) {
      if (entries.size() == kMaxEntries) return;
      entries.push_back({value, false, {}});
      have_key_ = true;
    } else if (have_key_ && depth_ <= 2) {
      current().values.push_back(value);
      if (depth_ == 1) have_key_ = false;
    }
  }

  const std::string& file_;
  std::vector<Finding>& findings_;
  int depth_ = 0;
  bool have_key_ = false;
};

}  // namespace

std::string Finding::text() const {
  if (line == 0) return fmt::format("{}: error: {}", file, message);
  return fmt::format("{}:{}:{}: error: {}", file, line, column, message);
}

std::vector<YamlEntry> read_yaml(std::string_view text, const std::string& file, std::vector<Finding>& findings) {
  if (text.size() > kMaxBytes) {
    findings.push_back({file, 0, 0, fmt::format("the file has {} bytes; a configuration has at most {}", text.size(), kMaxBytes)});
    return {};
  }
  if (const size_t at = text.find('\0'); at != text.npos) {
    findings.push_back({file, 0, 0, fmt::format("a NUL byte at byte {}: not a text file", at)});
    return {};
  }
  // yaml-cpp recurses into nested brackets; no key needs more than one level.
  int nesting = 0;
  for (char c : text) {
    nesting += c == '[' || c == '{' ? 1 : c == ']' || c == '}' ? -1 : 0;
    if (nesting > 64) {
      findings.push_back({file, 0, 0, "more than 64 nested brackets"});
      return {};
    }
  }
  Collector collector(file, findings);
  std::istringstream stream{std::string(text)};
  try {
    YAML::Parser parser(stream);
    parser.HandleNextDocument(collector);
    Collector second(file, findings);
    if (parser && parser.HandleNextDocument(second)) {
      findings.push_back({file, 0, 0, "the file has more than one document (---); keep one"});
    }
  } catch (const YAML::Exception& e) {
    findings.push_back({file, e.mark.line + 1, e.mark.column + 1, fmt::format("not valid YAML: {}", e.msg)});
  }
  std::map<std::string, const YamlEntry*> first;
  for (const YamlEntry& entry : collector.entries) {
    const auto [at, is_new] = first.emplace(entry.key.text, &entry);
    if (!is_new) {
      findings.push_back({file, entry.key.line, entry.key.column,
                          fmt::format("key '{}' is already set in line {}; keep one of them", entry.key.text, at->second->key.line)});
    }
  }
  return std::move(collector.entries);
}

}  // namespace nibble::schema
