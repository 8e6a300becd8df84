#include "data/row_tool_calls.h"

#include <fmt/core.h>

#include "data/row_value.h"

namespace nibble::data {

Json checked_function(const Json& function, const std::string& field, const RowPlace& place) {
  if (!function.is_object()) place.fail(field, fmt::format("must be an object with 'name' and 'arguments', found {}", type_text(function)));
  text_at(function, "name", field + ".name", place);
  Json out = function;
  Json& arguments = out["arguments"];  // put there where it is missing
  const std::string at = field + ".arguments";
  if (arguments.is_string()) {
    const std::string text = arguments.get<std::string>();
    arguments = text.find_first_not_of(" \t\r\n") == std::string::npos ? Json() : parse_json_string(text, at, place);
  }
  if (arguments.is_null()) arguments = Json::object();
  if (!arguments.is_object()) place.fail(at, fmt::format("must be an object, or a JSON string of one, found {}", type_text(arguments)));
  return out;
}

Json checked_tool_calls(const Json& calls, const std::string& field, const RowPlace& place) {
  if (!calls.is_array()) place.fail(field, fmt::format("must be a list of calls, found {}", type_text(calls)));
  Json out = Json::array();
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string at = fmt::format("{}[{}]", field, i);
    if (calls[i].is_object() && calls[i].contains("function")) {
      Json call = calls[i];
      call["function"] = checked_function(calls[i]["function"], at + ".function", place);
      out.push_back(std::move(call));
    } else {
      out.push_back(checked_function(calls[i], at, place));
    }
  }
  return out;
}

Json tool_calls_of_text(const std::string& text, const std::string& field, const RowPlace& place) {
  Json calls = parse_json_string(text, field, place);
  if (!calls.is_array()) calls = Json::array({std::move(calls)});
  if (calls.empty()) place.fail(field, "holds no call");
  Json out = Json::array();
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string at = calls.size() == 1 ? field : fmt::format("{}[{}]", field, i);
    out.push_back({{"type", "function"}, {"function", checked_function(calls[i], at, place)}});
  }
  return out;
}

}  // namespace nibble::data
