// Calls of tools in the messages of a row, checked, with their arguments as objects: templates write arguments out key by
// key, while files hold them as objects or, as OpenAI's API gives them, as JSON text in a string.
#pragma once

#include <string>

#include "data/json_row.h"

namespace nibble::data {

// A list of {"function": {"name", "arguments"}, ...} or of bare {"name", "arguments"}. Keys beside these stay.
// THROWS DataError naming the field below `field`.
Json checked_tool_calls(const Json& calls, const std::string& field, const RowPlace& place);

// {"name": "...", "arguments": object, JSON string of one, "" or null}; arguments become an object.
Json checked_function(const Json& function, const std::string& field, const RowPlace& place);

// ShareGPT's function_call: JSON text of one call {"name", "arguments"} or a list of them, as a list of tool calls.
Json tool_calls_of_text(const std::string& text, const std::string& field, const RowPlace& place);

}  // namespace nibble::data
