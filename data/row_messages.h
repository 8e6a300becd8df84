// Conversations in rows: lists of messages as OpenAI, TRL and ShareGPT write them, tools and tool calls.
#pragma once

#include <string>
#include <vector>

#include "data/conversation.h"
#include "data/row_value.h"
#include "schema/field_names.h"

namespace nibble::data {

// The list row[key] as messages. names: role and content as this file calls them, and its own roles.
//
// Roles become system, user, assistant, tool. Content is a string, a list of {"type": "text", "text"} parts, which are
// joined, or, beside tool calls, missing or null, which is empty. `train` (true, false) or `weight` (1, 0) says whether an
// answer is learned. What else a message carries stays in its fields, but for nulls. Tool calls are checked, and their
// arguments become objects where they are JSON strings; a message of the role function_call becomes a tool call.
// THROWS DataError with the field.
std::vector<Message> read_messages(const Json& row, const std::string& key, const FieldNames& names, const RowPlace& place);

// The tools of a row: a list of objects, or a JSON string of one; null where there are none. THROWS DataError.
Json read_tools(const Json& row, const std::string& key, const RowPlace& place);

// Puts a system text in front, where it is not there already.
void put_system_in_front(const std::string& system, std::vector<Message>& messages);

}  // namespace nibble::data
