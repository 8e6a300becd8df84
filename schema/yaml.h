// A configuration file as flat entries with their places, read more strictly than YAML allows: one document, one mapping,
// keys to scalars or lists of scalars, no duplicates, no anchors, aliases or tags.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::schema {

inline constexpr size_t kMaxYamlBytes = 1 << 20;  // a configuration is a page

struct Finding {
  std::string file;
  int64_t line = 0, column = 0;  // 0: not in a file
  std::string message;

  std::string text() const;      // "FILE:LINE:COLUMN: error: MESSAGE"
};

struct YamlScalar {
  std::string text;
  bool quoted = false;
  int64_t line = 0, column = 0;
};

struct YamlEntry {
  YamlScalar key;
  bool is_list = false;
  std::vector<YamlScalar> values;  // one, unless is_list
};

// Adds what is wrong to `findings` and returns what could be read. `file` is the name for messages.
std::vector<YamlEntry> read_yaml(std::string_view text, const std::string& file, std::vector<Finding>& findings);

}  // namespace nibble::schema
