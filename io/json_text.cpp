#include "io/json_text.h"

#include <fmt/format.h>

#include <set>
#include <system_error>
#include <vector>

#include "core/error.h"
#include "core/file.h"

namespace nibble::io {
namespace {

using Json = nlohmann::json;

// What nlohmann says in front of the cause: "[json.exception.parse_error.101] parse error at line 1, column 2: ".
std::string cause_of(const std::string& what) {
  const size_t at = what.find(": ");
  return at == std::string::npos ? what : what.substr(at + 2);
}

}  // namespace

Json parse_json(std::string_view text, const std::filesystem::path& path, int64_t offset) {
  std::vector<std::set<std::string>> names;  // of the objects that are open
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    switch (event) {
      case Json::parse_event_t::object_start:
      case Json::parse_event_t::array_start:
        if (depth >= kJsonMaxDepth) {
          throw FormatError(fmt::format("its JSON is nested deeper than {} levels", kJsonMaxDepth), path.string(), offset);
        }
        if (event == Json::parse_event_t::object_start) names.emplace_back();
        break;
      case Json::parse_event_t::object_end: names.pop_back(); break;
      case Json::parse_event_t::key: {
        const auto& name = value.get_ref<const std::string&>();
        if (!names.back().insert(name).second) {
          throw FormatError(fmt::format("its JSON gives '{}' twice in one object", name), path.string(), offset);
        }
        break;
      }
      case Json::parse_event_t::array_end:
      case Json::parse_event_t::value: break;
    }
    return true;
  };
  try {
    return Json::parse(text, watch);
  } catch (const nlohmann::json::parse_error& error) {
    const auto at = error.byte > 0 ? static_cast<int64_t>(error.byte) - 1 : 0;
    throw FormatError(fmt::format("it is not JSON: {}", cause_of(error.what())), path.string(), offset + at);
  } catch (const nlohmann::json::exception& error) {  // a number outside every type
    throw FormatError(fmt::format("it is not JSON: {}", cause_of(error.what())), path.string(), offset);
  }
}

Json read_json_object(const std::filesystem::path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (!error && size > static_cast<uintmax_t>(kJsonMaxFileBytes)) {
    throw FormatError(fmt::format("it has {} bytes, too many for a JSON file of a model", size), path.string());
  }
  Json json = parse_json(read_text(path), path);
  if (!json.is_object()) throw FormatError("it must hold one JSON object", path.string(), 0);
  return json;
}

nlohmann::ordered_json ordered_json_of(const std::string& checked_text) { return nlohmann::ordered_json::parse(checked_text); }

}  // namespace nibble::io
