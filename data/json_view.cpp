#include "data/json_view.h"

#include <fmt/core.h>

#include "core/error.h"

namespace nibble::data {

void JsonView::fail(const std::string& message) const {
  throw FormatError(fmt::format("{}: {}", pointer_.empty() ? "/" : pointer_, message), *path_);
}

std::optional<JsonView> JsonView::find(const std::string& key) const {
  if (!value_->is_object()) fail(fmt::format("must be an object, found {}", value_->type_name()));
  const auto found = value_->find(key);
  if (found == value_->end() || found->is_null()) return std::nullopt;
  return JsonView(*found, *path_, pointer_ + "/" + key);
}

JsonView JsonView::at(const std::string& key) const {
  const auto found = find(key);
  if (!found) fail(fmt::format("'{}' is missing", key));
  return *found;
}

std::string JsonView::text() const {
  if (!value_->is_string()) fail(fmt::format("must be a string, found {}", value_->type_name()));
  return value_->get<std::string>();
}

bool JsonView::flag() const {
  if (!value_->is_boolean()) fail(fmt::format("must be true or false, found {}", value_->type_name()));
  return value_->get<bool>();
}

int64_t JsonView::integer(int64_t low, int64_t high) const {
  if (!value_->is_number_integer()) fail(fmt::format("must be an integer, found {}", value_->type_name()));
  // An unsigned value above int64's range reads as negative, and so falls outside as well.
  const auto value = value_->get<int64_t>();
  const bool wrapped = value_->is_number_unsigned() && value < 0;
  if (wrapped || value < low || value > high) fail(fmt::format("is {}, outside {}..{}", value_->dump(), low, high));
  return value;
}

std::string JsonView::text_or(const std::string& key, const std::string& otherwise) const {
  const auto found = find(key);
  return found ? found->text() : otherwise;
}

bool JsonView::flag_or(const std::string& key, bool otherwise) const {
  const auto found = find(key);
  return found ? found->flag() : otherwise;
}

std::vector<JsonView> JsonView::items() const {
  if (!value_->is_array()) fail(fmt::format("must be a list, found {}", value_->type_name()));
  std::vector<JsonView> items;
  items.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i) items.emplace_back((*value_)[i], *path_, fmt::format("{}/{}", pointer_, i));
  return items;
}

std::vector<std::pair<std::string, JsonView>> JsonView::members() const {
  if (!value_->is_object()) fail(fmt::format("must be an object, found {}", value_->type_name()));
  std::vector<std::pair<std::string, JsonView>> members;
  for (const auto& [key, value] : value_->items()) members.emplace_back(key, JsonView(value, *path_, pointer_ + "/" + key));
  return members;
}

}  // namespace nibble::data
