#include "io/shards.h"

#include <fmt/format.h>

#include <map>
#include <set>
#include <system_error>

#include "core/error.h"
#include "core/inside_folder.h"
#include "io/checkpoint_manifest.h"
#include "schema/json_text.h"

namespace nibble::io {
namespace fs = std::filesystem;

SafetensorsShards::SafetensorsShards(const fs::path& folder) {
  std::error_code error;
  const bool is_file = fs::is_regular_file(folder, error);
  const fs::path single = is_file ? folder : folder / kSingleShardName, index = folder / kShardIndexName;
  if (fs::exists(single, error)) {
    if (!is_file) expect_inside(folder, single);
    files_.emplace_back(single);
    for (const SafetensorsEntry& entry : files_.back().entries()) {
      names_.push_back(entry.name);
      locations_.emplace(entry.name, Location{&files_.back(), &entry});
    }
  } else if (fs::exists(index, error)) {
    expect_inside(folder, index);
    read_index(index);
  } else {
    throw ConfigError(fmt::format("it holds neither {} nor {}; nibble reads safetensors: convert other weights with "
                                  "transformers' save_pretrained(safe_serialization=True)", kSingleShardName, kShardIndexName),
                      Place{folder.string(), 0, 0, -1});
  }
}

void SafetensorsShards::read_index(const fs::path& index) {
  const nlohmann::json json = schema::read_json_object(index);
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object() || map->empty()) {
    throw FormatError("it has no 'weight_map' that lists the tensors; download it again", index.string(), 0);
  }
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string() || !is_plain_file_name(shard.get<std::string>())) {
      throw FormatError(fmt::format("tensor '{}' lies in {}, which is not the name of a file in this folder", tensor, schema::brief(shard)),
                        index.string());
    }
    shards.insert(shard.get<std::string>());
  }
  std::map<std::string, const SafetensorsFile*> by_name;
  for (const std::string& shard : shards) {
    const fs::path path = index.parent_path() / shard;
    std::error_code error;
    if (!fs::exists(path, error)) {
      throw FormatError(fmt::format("shard '{}' is missing from the folder; download it, or the whole model again", shard),
                        index.string());
    }
    expect_inside(index.parent_path(), path);
    files_.emplace_back(path);
    const SafetensorsFile& file = files_.back();
    by_name[shard] = &file;
    for (const SafetensorsEntry& entry : file.entries()) {
      const auto listed = map->find(entry.name);
      // A tensor that the index puts elsewhere, or does not know, is not part of the model.
      if (listed == map->end() || *listed != shard) continue;
      names_.push_back(entry.name);
      locations_.emplace(entry.name, Location{&file, &entry});
    }
  }
  for (const auto& [tensor, shard] : map->items()) {
    if (locations_.count(tensor) == 0) {
      throw FormatError(fmt::format("tensor '{}' is not in it, though {} says so; download it again", tensor, kShardIndexName),
                        by_name.at(shard.get<std::string>())->path().string());
    }
  }
}

const SafetensorsShards::Location* SafetensorsShards::find(std::string_view name) const {
  const auto found = locations_.find(std::string(name));
  return found == locations_.end() ? nullptr : &found->second;
}

std::string render_shard_index(const std::vector<std::pair<std::string, std::string>>& shard_of_tensor, int64_t total_bytes) {
  nlohmann::ordered_json json;
  json["metadata"] = {{"total_size", total_bytes}};
  json["weight_map"] = std::map<std::string, std::string>(shard_of_tensor.begin(), shard_of_tensor.end());
  return json.dump(2) + "\n";
}

}  // namespace nibble::io
