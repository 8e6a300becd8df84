// Typed access to a parsed row. Every error names the field as the file calls it: "messages[2].content: must be a string,
// found null".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/json_row.h"

namespace nibble::data {

// A member that is there and not null; nullptr: neither.
const Json* find_value(const Json& object, const std::string& key);

// field: how messages call it. THROWS DataError where it is missing or no string.
std::string text_at(const Json& object, const std::string& key, const std::string& field, const RowPlace& place);

// Missing and null mean empty.
std::string optional_text(const Json& object, const std::string& key, const std::string& field, const RowPlace& place);

// A list of integers in low..high. THROWS DataError naming the entry.
std::vector<int64_t> integers_at(const Json& object, const std::string& key, int64_t low, int64_t high, const RowPlace& place);

// A text as messages quote it: its first 60 bytes.
std::string shortened(const std::string& text);

// The keys of an object, for messages: "a, b, ...", shortened; "none".
std::string keys_text(const Json& object);

}  // namespace nibble::data
