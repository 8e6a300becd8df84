#include "io/hub_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <system_error>

#include "core/error.h"
#include "core/file.h"
#include "io/checkpoint_manifest.h"

namespace nibble::io {
namespace fs = std::filesystem;
namespace {

// "" where it is not set, or set to nothing.
std::string environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) return "";
  std::string text = value;
  if (text == "~" || text.starts_with("~/")) {
    const char* home = std::getenv("HOME");
    if (home != nullptr) text = home + text.substr(1);
  }
  return text;
}

std::string trimmed(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  return text;
}

}  // namespace

fs::path hub_cache_folder() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (std::string folder = environment(name); !folder.empty()) return folder;
  }
  if (std::string home = environment("HF_HOME"); !home.empty()) return fs::path(home) / "hub";
  if (std::string cache = environment("XDG_CACHE_HOME"); !cache.empty()) return fs::path(cache) / "huggingface" / "hub";
  return fs::path(environment("HOME")) / ".cache" / "huggingface" / "hub";
}

bool is_hub_id(const std::string& name) {
  const auto is_part = [](std::string_view part) {
    return !part.empty() && part.front() != '-' && part.front() != '.' && part.size() <= 96 &&
           std::all_of(part.begin(), part.end(), [](unsigned char c) { return std::isalnum(c) || c == '.' || c == '_' || c == '-'; });
  };
  const size_t slash = name.find('/');
  if (slash == std::string::npos) return is_part(name);
  return is_part(std::string_view(name).substr(0, slash)) && is_part(std::string_view(name).substr(slash + 1));
}

fs::path find_model(const std::string& name) {
  std::error_code error;
  if (name.empty()) throw ConfigError("no model is named: set model_name_or_path");
  if (fs::exists(name, error)) return name;
  if (!is_hub_id(name)) {
    throw ConfigError(fmt::format("there is no folder or file '{}', and it is no Hub id (org/name) either", name));
  }
  std::string folder_name = "models--" + name;
  if (const size_t slash = folder_name.find('/'); slash != std::string::npos) folder_name.replace(slash, 1, "--");
  const fs::path folder = hub_cache_folder() / folder_name;
  const fs::path ref = folder / "refs" / "main";
  if (fs::exists(ref, error)) {
    const std::string commit = trimmed(read_text(ref));
    if (!is_plain_file_name(commit)) {
      throw FormatError(fmt::format("it must hold the name of a snapshot; fetch the model again: hf download {}", name), ref.string());
    }
    const fs::path snapshot = folder / "snapshots" / commit;
    if (fs::is_directory(snapshot, error)) return snapshot;
  }
  throw ConfigError(fmt::format("there is no folder '{}', and the Hugging Face cache {} does not hold a model of that name; fetch it "
                                "with: hf download {}", name, hub_cache_folder().string(), name));
}

}  // namespace nibble::io
