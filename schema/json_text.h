// JSON from files that may be damaged or hostile: depth, number of values and file size bounded before anything is allocated for
// them, no duplicate names, errors with their place. For the files of models, adapters and checkpoints; rows of datasets, which
// come by the million, have data/json_row.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::schema {

inline constexpr int kJsonMaxDepth = 32;                    // config.json has 3, tokenizer.json 7
inline constexpr int64_t kJsonMaxValues = 8 << 20;          // about 64 bytes each; the largest tokenizer.json has 2 million
inline constexpr int64_t kJsonMaxOrderedNames = 4096;       // of one object in the file's order, where finding a name is a walk
inline constexpr int64_t kJsonMaxFileBytes = 64 << 20;      // the index of a sharded model has a few MB at most
inline constexpr int64_t kJsonMaxTokenizerBytes = 256 << 20;

// Parses `text`, which stands at byte `offset` of the file `path`.
// THROWS FormatError with the byte where text is not JSON, a number fits no type, a name is given twice in one object, or one of
// the limits above is passed.
nlohmann::json parse_json(std::string_view text, const std::filesystem::path& path, int64_t offset = 0);
// The same with the names of objects in the file's order.
nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::filesystem::path& path, int64_t offset = 0);

// An object or a list of so many values that nobody wants it built: each goes to `each` as it is read, and the result has an empty
// one in its place. A name that is given twice is the receiver's to find.
struct JsonStream {
  std::vector<std::string> names;  // on the way there, through objects
  nlohmann::json::value_t kind;    // object or array; what is of another kind is built
  std::function<void(std::string& name, nlohmann::json& value)> each;  // may move from both; the name of a list's value is ""
};

// The file's text, and it as one JSON object. THROWS IoError, FormatError, what `each` throws; also where the file is larger than max_bytes.
std::string read_json_text(const std::filesystem::path& path, int64_t max_bytes = kJsonMaxFileBytes);
nlohmann::json read_json_object(const std::filesystem::path& path, int64_t max_bytes = kJsonMaxFileBytes, std::span<const JsonStream> streams = {});

// A value for messages: its JSON, shortened.
std::string brief(const nlohmann::json& value);
std::string brief(const nlohmann::ordered_json& value);

}  // namespace nibble::schema
