// nibble preprocess CONFIG: tokenizes and packs the data into the cache, and says what it found.
#include <CLI/CLI.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <iostream>

#include "core/error.h"
#include "io/hub_cache.h"
#include "io/weight_source.h"
#include "schema/load.h"
#include "trainer/command.h"
#include "trainer/open_tokenizer.h"
#include "trainer/progress.h"
#include "trainer/run_data.h"
#include "trainer/stop_request.h"

namespace nibble::trainer {
namespace {

// A folder needs no weights for this.
data::Tokenizer tokenizer_of(const std::string& model_name_or_path) {
  const std::filesystem::path model = io::find_model(model_name_or_path);
  std::error_code missing;
  if (std::filesystem::is_directory(model, missing)) return data::Tokenizer::from_folder(model);
  return open_tokenizer(*io::open_weight_source(model_name_or_path));
}

int run(const std::string& path, const CommonOptions& common) {
  const schema::LoadedConfig loaded = schema::load_run_config(path, common.set, schema::Needs::kModel);
  const schema::RunConfig& config = loaded.config;
  Progress progress(std::cerr, terminal_columns(STDERR_FILENO));
  for (const std::string& note : loaded.notes) progress.message(note);
  if (config.train_file.empty()) throw ConfigError("train_file is missing: name the files to prepare", {path});
  expect_data_files(config);
  const StopRequest stop;
  DataHooks hooks;
  hooks.say = [&](const std::string& line) { progress.message(line); };
  hooks.each = [&] {
    if (stop.requested()) throw Interrupted(fmt::format("{} while preparing the data: nothing was kept", stop.name()));
  };
  const RunData data = load_run_data(config, tokenizer_of(config.model_name_or_path), hooks);
  if (common.json) {
    std::cout << data_json(data) << "\n";
    return 0;
  }
  for (const std::string& line : describe_data(data)) std::cout << line << "\n";
  return 0;
}

}  // namespace

Command make_preprocess_command() {
  return {"preprocess", "Tokenize and pack the data into the cache that train takes them from", [](CLI::App& app, const CommonOptions& common) -> std::function<int()> {
            const auto config = std::make_shared<std::string>();
            app.add_option("CONFIG", *config, "YAML file")->required();
            return [config, &common] { return run(*config, common); };
          }};
}

}  // namespace nibble::trainer
