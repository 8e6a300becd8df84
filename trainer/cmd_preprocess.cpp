// nibble preprocess CONFIG: tokenizes and packs the data into the cache, and says what it found.
#include <CLI/CLI.hpp>

#include <iostream>

#include "schema/load.h"
#include "trainer/command.h"
#include "trainer/prepare_data.h"

namespace nibble::trainer {
namespace {

int run(const std::string& path, const CommonOptions& common) {
  const PreparedData prepared = prepare_data(schema::load_run_config(path, common.set, schema::Needs::kModel), "preparing");
  if (common.json) {
    std::cout << data_json(prepared.data) << "\n";
    return 0;
  }
  for (const std::string& line : describe_data(prepared.data)) std::cout << line << "\n";
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
