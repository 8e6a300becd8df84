// The safetensors files of a model folder, read as one: model.safetensors, or the shards that
// model.safetensors.index.json lists ({"metadata": {"total_size": n}, "weight_map": {tensor: shard}}).
#pragma once

#include <deque>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/safetensors.h"

namespace nibble::io {

inline constexpr const char* kSingleShardName = "model.safetensors";
inline constexpr const char* kShardIndexName = "model.safetensors.index.json";

class SafetensorsShards {
 public:
  struct Location {
    const SafetensorsFile* file = nullptr;
    const SafetensorsEntry* entry = nullptr;
  };

  // Maps every file and checks that each tensor of the index is where it says. The index's total_size is not compared:
  // published ones count tied or converted tensors differently, and each file is checked against its own header.
  // THROWS IoError; FormatError for a damaged file, a shard that is missing or outside the folder, a tensor that is not
  // in its shard; ConfigError where the folder holds no safetensors at all.
  // A path of one safetensors file stands for a folder with that file alone.
  explicit SafetensorsShards(const std::filesystem::path& folder);
  SafetensorsShards(const SafetensorsShards&) = delete;

  // In the order of the files and of the bytes in them, which is the order to stream in.
  const std::vector<std::string>& names() const { return names_; }
  const Location* find(std::string_view name) const;  // nullptr: not there
  const std::deque<SafetensorsFile>& files() const { return files_; }

 private:
  void read_index(const std::filesystem::path& index);

  std::deque<SafetensorsFile> files_;  // a deque: locations point into it
  std::vector<std::string> names_;
  std::unordered_map<std::string, Location> locations_;
};

// What model.safetensors.index.json says for these shards; sorted by tensor name, as transformers writes it.
std::string render_shard_index(const std::vector<std::pair<std::string, std::string>>& shard_of_tensor, int64_t total_bytes);

}  // namespace nibble::io
