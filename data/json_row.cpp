#include "data/json_row.h"

#include <fmt/core.h>

#include <optional>
#include <unordered_set>
#include <utility>

#include "core/error.h"
#include "core/utf8.h"

namespace nibble::data {
namespace {

constexpr size_t kMaxDepth = 64;
constexpr size_t kFewKeys = 16;  // compared one by one; more go through a set, so that a hostile object takes no quadratic time

// Builds the value and watches what the library's own builder lets pass: keys given twice, nesting without end.
class RowBuilder : public nlohmann::json_sax<Json> {
 public:
  // field: "" for a row; else where the text stands, which every error then names.
  RowBuilder(const RowPlace& place, std::string field) : place_(place), string_field_(std::move(field)) {}

  Json take() { return std::move(root_); }

  bool null() override { return put(Json()); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // JSON text has none

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    Open& object = stack_.back();
    auto& members = object.value->get_ref<Json::object_t&>();
    if (stack_.size() == 1) field_ = name;
    if (is_known(object, members, name)) fail(field_, fmt::format("the key '{}' is given twice; which one counts is not defined", name));
    // Straight to the end: the map's own insertion would look for the key once more.
    slot_ = &members.emplace_back(name, Json()).second;
    return true;
  }

  bool parse_error(std::size_t position, const std::string& token, const Json::exception& error) override {
    const std::string what = error.what();
    const auto says = [&](std::string_view part) { return what.find(part) != std::string::npos; };
    const std::string field = in_value() ? field_ : "";
    if (says("ill-formed UTF-8")) fail(field, fmt::format("not valid UTF-8 (column {})", position));
    if (says("surrogate")) {
      fail(field, fmt::format("half of a surrogate pair (\\ud800 to \\udfff) is not a character (column {})", position));
    }
    if (says("unexpected end of input") || says("missing closing quote")) {
      fail("", string_field_.empty() ? "the line ends inside a JSON value (file cut off, or a line break inside a row?)" : "ends early");
    }
    if (says("expected end of input")) fail("", fmt::format("more text after the JSON value (column {}): one example a line", position));
    std::string shown = token.substr(0, 40);
    if (first_invalid_utf8(shown)) shown = repair_utf8(shown);
    // The library's text begins with its own class and place, and repeats what it read, however long.
    const size_t colon = what.find("syntax error");
    std::string reason = (colon == std::string::npos ? what : what.substr(colon)).substr(0, 200);
    if (first_invalid_utf8(reason)) reason = repair_utf8(reason);
    fail("", fmt::format("invalid JSON at column {}, near '{}': {}", position, shown, reason));
  }

 private:
  // A container that is not closed yet.
  struct Open {
    Json* value;
    std::unordered_set<std::string> keys;  // of an object with many
  };

  static bool is_known(Open& object, const Json::object_t& members, const std::string& name) {
    if (members.size() < kFewKeys) {
      for (const auto& member : members) {
        if (member.first == name) return true;
      }
      return false;
    }
    if (object.keys.empty()) {
      for (const auto& member : members) object.keys.insert(member.first);
    }
    return !object.keys.insert(name).second;
  }

  [[noreturn]] void fail(std::string_view field, const std::string& message) const {
    if (string_field_.empty()) place_.fail(field, message);
    place_.fail(string_field_, "the JSON in this string: " + message);
  }

  bool in_value() const { return slot_ != nullptr || (!stack_.empty() && !stack_.back().value->is_object()) || stack_.size() > 1; }

  Json* place_value(Json&& value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& container = *stack_.back().value;
    if (container.is_array()) {
      container.push_back(std::move(value));
      return &container.back();
    }
    *slot_ = std::move(value);
    return std::exchange(slot_, nullptr);
  }
  bool put(Json&& value) {
    place_value(std::move(value));
    return true;
  }
  bool open(Json&& container) {
    if (stack_.size() >= kMaxDepth) fail(field_, fmt::format("nested too deeply (more than {} levels)", kMaxDepth));
    stack_.push_back({place_value(std::move(container)), {}});
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }

  const RowPlace& place_;
  const std::string string_field_;
  Json root_;
  std::vector<Open> stack_;  // a parent does not change while a child is open
  Json* slot_ = nullptr;     // of the key just read
  std::string field_;        // the top-level key we are in
};

Json parse(std::string_view text, const RowPlace& place, std::string field) {
  RowBuilder builder(place, std::move(field));
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

}  // namespace

void RowPlace::fail(std::string_view field, const std::string& message) const {
  std::string text = field.empty() ? message : fmt::format("{}: {}", field, message);
  if (counts_rows) text += fmt::format(" (row {} of the Parquet file)", line);
  throw DataError(text, Place{file, line});
}

std::string_view type_text(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return "null";
    case Json::value_t::object: return "an object";
    case Json::value_t::array: return "a list";
    case Json::value_t::string: return "a string";
    case Json::value_t::boolean: return "true or false";
    default: return "a number";
  }
}

Json parse_row(const Row& row, const RowPlace& place) {
  Json value = parse(row.text, place, "");
  if (!value.is_object()) place.fail("", fmt::format("must be a JSON object, found {}", type_text(value)));
  return value;
}

Json parse_json_string(std::string_view text, const std::string& field, const RowPlace& place) { return parse(text, place, field); }

}  // namespace nibble::data
