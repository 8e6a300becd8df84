// Configurations written to a folder of their own, read, and what is said about them.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "schema/load.h"

namespace nibble::schema {

// A folder that is removed with its contents.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "nibble_schema_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = std::filesystem::canonical(pattern);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::string operator/(const char* name) const { return (path_ / name).string(); }

  std::filesystem::path write(const std::string& text, const char* name = "run.yaml") const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

inline LoadedConfig load(const std::string& yaml, const std::vector<std::string>& overrides = {}, Needs needs = Needs::kNothing) {
  const Folder folder;
  return load_run_config(folder.write(yaml), overrides, needs);
}

// Everything that is said about a configuration that must be refused, with the folder's name taken out:
// "run.yaml:1:9: lora_r = 0 is ...". "accepted" where it was not refused.
inline std::string refusal(const std::string& yaml, const std::vector<std::string>& overrides = {}, Needs needs = Needs::kNothing) {
  const Folder folder;
  try {
    load_run_config(folder.write(yaml), overrides, needs);
  } catch (const ConfigError& e) {
    std::string text = e.what();
    const std::string prefix = folder.path().string() + "/";
    for (size_t at; (at = text.find(prefix)) != text.npos;) text.erase(at, prefix.size());
    return text;
  }
  return "accepted";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

// Every key with its default as YAML text; lists as one word.
inline std::vector<std::string> key_names() {
  std::vector<std::string> names;
  const RunConfig defaults;
  auto collect = [&](const char* name, const auto&, const Field&) { names.push_back(name); };
  RunConfig::describe(defaults, collect);
  return names;
}

}  // namespace nibble::schema
