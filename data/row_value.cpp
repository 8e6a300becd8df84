#include "data/row_value.h"

#include <fmt/core.h>

#include "core/utf8.h"

namespace nibble::data {

const Json* find_value(const Json& object, const std::string& key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string text_at(const Json& object, const std::string& key, const std::string& field, const RowPlace& place) {
  const auto found = object.find(key);
  if (found == object.end()) place.fail(field, "missing");
  if (!found->is_string()) place.fail(field, fmt::format("must be a string, found {}", type_text(*found)));
  return found->get<std::string>();
}

std::string optional_text(const Json& object, const std::string& key, const std::string& field, const RowPlace& place) {
  return find_value(object, key) == nullptr ? "" : text_at(object, key, field, place);
}

std::vector<int64_t> integers_at(const Json& object, const std::string& key, int64_t low, int64_t high, const RowPlace& place) {
  const Json& list = object.at(key);
  if (!list.is_array()) place.fail(key, fmt::format("must be a list of integers, found {}", type_text(list)));
  std::vector<int64_t> values;
  values.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const auto fail = [&](const std::string& message) { place.fail(fmt::format("{}[{}]", key, i), message); };
    if (!list[i].is_number_integer()) fail(fmt::format("must be an integer, found {}", list[i].dump(-1, ' ', true).substr(0, 40)));
    const bool huge = list[i].is_number_unsigned() && list[i].get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
    const int64_t value = huge ? INT64_MAX : list[i].get<int64_t>();
    if (value < low || value > high) fail(fmt::format("is {}, outside {}..{}", list[i].dump(), low, high));
    values.push_back(value);
  }
  return values;
}

std::string shortened(const std::string& text) {
  constexpr size_t kLongest = 60;
  return text.size() <= kLongest ? text : repair_utf8(text.substr(0, kLongest)) + "...";
}

std::string keys_text(const Json& object) {
  constexpr size_t kLongest = 200;
  std::string keys;
  for (const auto& [key, value] : object.items()) {
    if (keys.size() > kLongest) return keys + ", ...";
    keys += (keys.empty() ? "" : ", ") + shortened(key);
  }
  return keys.empty() ? "none" : keys;
}

}  // namespace nibble::data
