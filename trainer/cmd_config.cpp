// nibble config show|check|docs|schema [CONFIG]: the configuration's visitors, by name.
#include <CLI/CLI.hpp>

#include <fmt/format.h>
#include <iostream>

#include "core/error.h"
#include "schema/print.h"
#include "trainer/command.h"

namespace nibble::trainer {
namespace {

struct Options {
  std::string what, file;
};

schema::LoadedConfig load(const Options& options, const CommonOptions& common, schema::Needs needs) {
  return options.file.empty() ? schema::load_overrides(common.set, schema::Needs::kNothing)
                              : schema::load_run_config(options.file, common.set, needs);
}

int run(const Options& options, const CommonOptions& common) {
  if (options.what == "docs") {
    std::cout << schema::config_docs();
  } else if (options.what == "schema") {
    std::cout << schema::config_json_schema();
  } else if (options.what == "show") {
    const schema::LoadedConfig loaded = load(options, common, schema::Needs::kNothing);
    for (const std::string& note : loaded.notes) std::cerr << note << "\n";
    std::cout << (common.json ? schema::config_json(loaded.config) + "\n" : schema::effective_yaml(loaded));
  } else {
    if (options.file.empty()) throw ConfigError("config check needs a file: nibble config check CONFIG");
    const schema::LoadedConfig loaded = load(options, common, schema::Needs::kTraining);
    for (const std::string& note : loaded.notes) std::cerr << note << "\n";
    std::cout << (common.json ? fmt::format("{{\"ok\": true, \"notes\": {}}}\n", loaded.notes.size()) : fmt::format("{}: ok\n", options.file));
  }
  return 0;
}

}  // namespace

Command make_config_command() {
  return {"config", "Show, check or document the configuration", [](CLI::App& app, const CommonOptions& common) -> std::function<int()> {
            const auto options = std::make_shared<Options>();
            app.add_option("WHAT", options->what, "show: every key with its value and origin; check: errors only; docs: all keys; schema: JSON schema")
                ->required()
                ->check(CLI::IsMember({"show", "check", "docs", "schema"}));
            app.add_option("CONFIG", options->file, "YAML file");
            return [options, &common] { return run(*options, common); };
          }};
}

}  // namespace nibble::trainer
