// The caller's variables as values of a template.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>

#include "data/jinja/value.h"

namespace nibble::data::jinja {

// Addresses of strings to the origins they are registered as.
using Origins = std::unordered_map<const void*, int32_t>;

// The strings that the JSON pointers lead to; what leads nowhere or to another type is left out.
Origins find_origins(const nlohmann::ordered_json& variables, const std::vector<std::string>& pointers);

// Strings are views into `json`. THROWS Failure where it is nested too deep or holds an integer above 64 bits.
Value from_json(const nlohmann::ordered_json& json, const Origins& origins, Meter& meter);

}  // namespace nibble::data::jinja
