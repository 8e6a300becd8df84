// Visitors that write and read the fields a struct lists in its describe function as one JSON object.
//
// Numbers that are not finite have no JSON form and become null; null reads back as NaN. They never become 0. Reading is
// strict: a missing key, another type or a number out of range is a FormatError that names the key. Unknown keys are
// skipped, so that an older nibble reads what a newer one added.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"

namespace nibble::trainer {

using OrderedJson = nlohmann::ordered_json;

template <class T>
inline constexpr bool kIsOptional = false;
template <class T>
inline constexpr bool kIsOptional<std::optional<T>> = true;

template <class Struct>
OrderedJson to_json_object(const Struct& object);
template <class Struct>
Struct from_json_object(const OrderedJson& json, const std::string& path);

// Writes each described field. An empty optional is left out.
class JsonFieldWriter {
 public:
  explicit JsonFieldWriter(OrderedJson& out) : out_(out) {}

  template <class T, class... Notes>
  void operator()(const char* name, const T& value, const Notes&...) {
    write(name, value);
  }

 private:
  void write(const char* name, double value) {
    if (std::isfinite(value)) {
      out_[name] = value;
    } else {
      out_[name] = nullptr;
    }
  }
  void write(const char* name, int64_t value) { out_[name] = value; }
  void write(const char* name, uint64_t value) { out_[name] = value; }
  void write(const char* name, const std::string& value) { out_[name] = value; }
  template <class T>
  void write(const char* name, const std::optional<T>& value) {
    if (value) write(name, *value);
  }
  void write(const char* name, const std::vector<std::pair<std::string, double>>& numbers) {
    OrderedJson object = OrderedJson::object();
    JsonFieldWriter writer(object);
    for (const auto& [key, value] : numbers) writer.write(key.c_str(), value);
    out_[name] = object;
  }
  void write(const char* name, const std::vector<int64_t>& numbers) { out_[name] = numbers; }
  template <class Struct>
  void write(const char* name, const Struct& row) {
    out_[name] = to_json_object(row);
  }
  template <class Struct>
  void write(const char* name, const std::vector<Struct>& rows) {
    out_[name] = OrderedJson::array();
    for (const Struct& row : rows) out_[name].push_back(to_json_object(row));
  }

  OrderedJson& out_;
};

// Reads each described field. THROWS FormatError with `path`.
class JsonFieldReader {
 public:
  JsonFieldReader(const OrderedJson& in, const std::string& path) : in_(in), path_(path) {
    if (!in_.is_object()) throw FormatError("not a JSON object", path_);
  }

  template <class T, class... Notes>
  void operator()(const char* name, T& value, const Notes&...) {
    const auto found = in_.find(name);
    if (found == in_.end()) {
      if constexpr (kIsOptional<T>) return value.reset();
      throw FormatError(fmt::format("'{}' is missing", name), path_);
    }
    read(name, *found, value);
  }

 private:
  [[noreturn]] void refuse(const char* name, const OrderedJson& json, const char* expected) const {
    throw FormatError(fmt::format("'{}' is {}, expected {}", name, json.type_name(), expected), path_);
  }
  void read(const char* name, const OrderedJson& json, double& value) const {
    if (json.is_null()) {
      value = std::numeric_limits<double>::quiet_NaN();
    } else if (json.is_number()) {
      value = json.get<double>();
    } else {
      refuse(name, json, "a number or null");
    }
  }
  void read(const char* name, const OrderedJson& json, int64_t& value) const {
    const auto largest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (!json.is_number_integer() || (json.is_number_unsigned() && json.get<uint64_t>() > largest)) {
      refuse(name, json, "a whole number");
    }
    value = json.get<int64_t>();
    if (value < 0) throw FormatError(fmt::format("'{}' is {}, expected 0 or more", name, value), path_);
  }
  void read(const char* name, const OrderedJson& json, uint64_t& value) const {
    if (!json.is_number_unsigned()) refuse(name, json, "a whole number from 0");
    value = json.get<uint64_t>();
  }
  void read(const char* name, const OrderedJson& json, std::string& value) const {
    if (!json.is_string()) refuse(name, json, "a text");
    value = json.get<std::string>();
  }
  template <class T>
  void read(const char* name, const OrderedJson& json, std::optional<T>& value) const {
    read(name, json, value.emplace());
  }
  void read(const char* name, const OrderedJson& json, std::vector<std::pair<std::string, double>>& numbers) const {
    if (!json.is_object()) refuse(name, json, "an object of numbers");
    numbers.clear();
    for (const auto& [key, value] : json.items()) read(key.c_str(), value, numbers.emplace_back(key, 0.0).second);
  }
  void read(const char* name, const OrderedJson& json, std::vector<int64_t>& numbers) const {
    if (!json.is_array()) refuse(name, json, "a list of whole numbers");
    numbers.clear();
    for (const OrderedJson& number : json) read(name, number, numbers.emplace_back());
  }
  template <class Struct>
  void read(const char* name, const OrderedJson& json, Struct& row) const {
    try {
      row = from_json_object<Struct>(json, path_);
    } catch (const FormatError& error) {
      throw FormatError(fmt::format("'{}': {}", name, error.message()), path_);
    }
  }
  template <class Struct>
  void read(const char* name, const OrderedJson& json, std::vector<Struct>& rows) const {
    if (!json.is_array()) refuse(name, json, "a list");
    rows.clear();
    for (const OrderedJson& row : json) rows.push_back(from_json_object<Struct>(row, path_));
  }

  const OrderedJson& in_;
  const std::string& path_;
};

template <class Struct>
OrderedJson to_json_object(const Struct& object) {
  OrderedJson json = OrderedJson::object();
  JsonFieldWriter writer(json);
  Struct::describe(object, writer);
  return json;
}

template <class Struct>
Struct from_json_object(const OrderedJson& json, const std::string& path) {
  Struct object;
  JsonFieldReader reader(json, path);
  Struct::describe(object, reader);
  return object;
}

}  // namespace nibble::trainer
