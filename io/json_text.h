// JSON from files that may be damaged or hostile: bounded depth, no duplicate names, errors with their place.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace nibble::io {

inline constexpr int kJsonMaxDepth = 32;  // config.json has 3

// Parses `text`, which stands at byte `offset` of the file `path`.
// THROWS FormatError for text that is not JSON, a name given twice in one object, or nesting deeper than kJsonMaxDepth.
nlohmann::json parse_json(std::string_view text, const std::filesystem::path& path, int64_t offset = 0);

// The file's text as one JSON object. THROWS IoError, FormatError; also where the file is above kJsonMaxFileBytes.
inline constexpr int64_t kJsonMaxFileBytes = 64 << 20;  // the index of a sharded model has a few MB at most
nlohmann::json read_json_object(const std::filesystem::path& path);

// The same text again with its names in the file's order, to be changed and written back.
nlohmann::ordered_json ordered_json_of(const std::string& checked_text);

}  // namespace nibble::io
