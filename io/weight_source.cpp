#include "io/weight_source.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <system_error>

#include "core/error.h"
#include "core/inside_folder.h"
#include "io/hf_source.h"
#include "io/hub_cache.h"
#include "io/weights_from_gguf.h"

namespace nibble::io {
namespace fs = std::filesystem;

std::unique_ptr<WeightSource> open_weight_source(const std::string& model_name_or_path) {
  const fs::path path = find_model(model_name_or_path);
  std::error_code error;
  if (!fs::is_directory(path, error)) return std::make_unique<GgufSource>(path);
  if (fs::exists(path / "config.json", error)) return std::make_unique<HfSource>(path);
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    if (entry.path().extension() == ".gguf") files.push_back(entry.path().filename().string());
  }
  if (error) throw IoError("cannot list the folder", path.string(), error.value());
  if (files.size() == 1) expect_inside(path, path / files.front());
  if (files.size() == 1) return std::make_unique<GgufSource>(path / files.front());
  const Place place{path.string(), 0, 0, -1};
  if (files.empty()) throw ConfigError("it is no model folder: it holds neither config.json nor a GGUF file", place);
  std::sort(files.begin(), files.end());
  throw ConfigError(fmt::format("it holds {} GGUF files; name one of them: {}", files.size(), fmt::join(files, ", ")), place);
}

}  // namespace nibble::io
