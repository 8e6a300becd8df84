// Reading a parsed JSON file with messages that name the place: every getter throws FormatError with the file and the
// JSON pointer of the value that is missing or of another type. For files of models (tokenizer.json and its kin); rows
// of datasets have json_row.h.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace nibble::data {

class JsonView {
 public:
  JsonView(const nlohmann::json& value, const std::string& path, std::string pointer = "")
      : value_(&value), path_(&path), pointer_(std::move(pointer)) {}

  // nullopt: no such key, or null.
  std::optional<JsonView> find(const std::string& key) const;
  JsonView at(const std::string& key) const;          // present and not null
  std::string text() const;
  bool flag() const;
  int64_t integer(int64_t low, int64_t high) const;
  std::string text_or(const std::string& key, const std::string& otherwise) const;
  bool flag_or(const std::string& key, bool otherwise) const;
  std::vector<JsonView> items() const;                // of a list
  std::vector<std::pair<std::string, JsonView>> members() const;  // of an object

  const nlohmann::json& value() const { return *value_; }
  const std::string& pointer() const { return pointer_; }
  [[noreturn]] void fail(const std::string& message) const;

 private:
  const nlohmann::json* value_;
  const std::string* path_;
  std::string pointer_;
};

}  // namespace nibble::data
