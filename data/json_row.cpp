#include "data/json_row.h"

#include <fmt/core.h>

#include <optional>
#include <unordered_set>

#include "core/error.h"
#include "core/utf8.h"

namespace nibble::data {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 64;

// Builds the value and watches what the library's own builder lets pass: keys given twice, nesting without end.
class RowBuilder : public nlohmann::json_sax<json> {
 public:
  explicit RowBuilder(const RowPlace& place) : place_(place) {}

  json take() { return std::move(root_); }

  bool null() override { return put(json()); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // JSON text has none

  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    json& object = *stack_.back();
    if (stack_.size() == 1) field_ = name;
    if (object.contains(name)) place_.fail(field_, fmt::format("the key '{}' is given twice; which one counts is not defined", name));
    slot_ = &object[name];
    return true;
  }

  bool parse_error(std::size_t position, const std::string& token, const json::exception& error) override {
    const std::string what = error.what();
    const auto says = [&](std::string_view part) { return what.find(part) != std::string::npos; };
    const std::string field = in_value() ? field_ : "";
    if (says("ill-formed UTF-8")) place_.fail(field, fmt::format("not valid UTF-8 (column {})", position));
    if (says("surrogate")) {
      place_.fail(field, fmt::format("half of a surrogate pair (\\ud800 to \\udfff) is not a character (column {})", position));
    }
    if (says("expected end of input")) place_.fail("", fmt::format("more text after the JSON value (column {}): one example a line", position));
    if (says("unexpected end of input") || says("missing closing quote")) {
      place_.fail("", "the line ends inside a JSON value (file cut off, or a line break inside a row?)");
    }
    std::string shown = token.substr(0, 40);
    if (first_invalid_utf8(shown)) shown = repair_utf8(shown);
    // The library's text begins with its own class and place.
    const size_t colon = what.find("syntax error");
    place_.fail("", fmt::format("invalid JSON at column {}, near '{}': {}", position, shown,
                                colon == std::string::npos ? what : what.substr(colon)));
  }

 private:
  bool in_value() const { return slot_ != nullptr || (!stack_.empty() && !stack_.back()->is_object()) || stack_.size() > 1; }

  json* place_value(json&& value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (stack_.back()->is_array()) {
      stack_.back()->push_back(std::move(value));
      return &stack_.back()->back();
    }
    *slot_ = std::move(value);
    return std::exchange(slot_, nullptr);
  }
  bool put(json&& value) {
    place_value(std::move(value));
    return true;
  }
  bool open(json&& container) {
    if (stack_.size() >= kMaxDepth) place_.fail(field_, fmt::format("nested too deeply (more than {} levels)", kMaxDepth));
    stack_.push_back(place_value(std::move(container)));
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }

  const RowPlace& place_;
  json root_;
  std::vector<json*> stack_;  // open containers; a parent does not change while a child is open
  json* slot_ = nullptr;      // of the key just read
  std::string field_;         // the top-level key we are in
};

}  // namespace

void RowPlace::fail(std::string_view field, const std::string& message) const {
  throw DataError(field.empty() ? message : fmt::format("{}: {}", field, message), Place{file, line});
}

std::string_view type_text(const json& value) {
  switch (value.type()) {
    case json::value_t::null: return "null";
    case json::value_t::object: return "an object";
    case json::value_t::array: return "a list";
    case json::value_t::string: return "a string";
    case json::value_t::boolean: return "true or false";
    default: return "a number";
  }
}

json parse_row(const Row& row, const RowPlace& place) {
  RowBuilder builder(place);
  json::sax_parse(row.text.begin(), row.text.end(), &builder);
  json value = builder.take();
  if (!value.is_object()) place.fail("", fmt::format("must be a JSON object, found {}", type_text(value)));
  return value;
}

}  // namespace nibble::data
