// Reads a configuration: YAML, overrides, aliases, checks. Everything that is wrong is collected and told at once.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "schema/run_config.h"

namespace nibble::schema {

struct LoadedConfig {
  RunConfig config;
  std::filesystem::path file;
  std::map<std::string, std::string> origins;  // by key: "FILE:LINE", "--set", with the alias used; not there: the default
  std::vector<std::string> notes;              // for the user: what aliases were read as
};

// What a command needs to be there, beside what every configuration needs.
enum class Needs : uint8_t { kNothing, kModel, kTraining };

// overrides: "key=value", in order. Relative paths in the file are relative to the file, in overrides to the working
// directory; all become absolute.
// THROWS ConfigError whose message lists every finding; IoError where the file cannot be read.
LoadedConfig load_run_config(const std::filesystem::path& file, const std::vector<std::string>& overrides,
                             Needs needs = Needs::kTraining);

// A configuration of defaults and overrides alone.
LoadedConfig load_overrides(const std::vector<std::string>& overrides, Needs needs);

// The keys that must match on resume, with their values as text, in order of declaration.
std::vector<std::pair<std::string, std::string>> resume_keys(const RunConfig& config);

}  // namespace nibble::schema
