// nibble inspect CONFIG: rows as the model will see them, with what is trained on marked.
#include <CLI/CLI.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <limits>

#include "core/error.h"
#include "core/file.h"
#include "schema/load.h"
#include "trainer/command.h"
#include "trainer/inspect_report.h"
#include "trainer/prepare_data.h"

namespace nibble::trainer {
namespace {

constexpr int64_t kUsualRows = 10;

struct Options {
  std::string config, split = "train", html;
  int64_t rows = -1, first = 0;
  bool ids = false;
};

bool coloured_terminal() {
  const char* refused = std::getenv("NO_COLOR");  // no-color.org
  return isatty(STDOUT_FILENO) == 1 && (refused == nullptr || *refused == '\0');
}

int run(const Options& options, const CommonOptions& common) {
  const schema::LoadedConfig loaded = schema::load_run_config(options.config, common.set, schema::Needs::kModel);
  const PreparedData prepared = prepare_data(loaded, "inspecting");
  const data::Dataset& dataset = options.split == "train" ? prepared.data.train : prepared.data.validation;
  if (dataset.rows() == 0) throw ConfigError("there is no validation data: set validation_file or validation_split_ratio", {options.config});
  if (options.first >= dataset.rows()) {
    throw ConfigError(fmt::format("--first {}: the data has rows 0 to {}", options.first, dataset.rows() - 1), {options.config});
  }
  const int64_t count = options.rows >= 0 ? options.rows : common.json ? std::numeric_limits<int64_t>::max() : kUsualRows;
  const InspectReport report{options.split, loaded.config.max_length, dataset.stats, describe_data(prepared.data),
                             inspect_rows(dataset, options.first, count, prepared.tokenizer)};
  if (!options.html.empty()) {
    write_text_atomic(options.html, inspect_html(report, fmt::format("{} of {}", options.split, std::filesystem::path(options.config).filename().string())));
    std::cerr << fmt::format("{}: {} rows\n", options.html, report.rows.size());
    if (!common.json) return 0;
  }
  std::cout << (common.json ? inspect_json(report) + "\n" : inspect_text(report, {coloured_terminal(), options.ids}));
  return 0;
}

}  // namespace

Command make_inspect_command() {
  return {"inspect", "Rows as the model sees them, with what is trained on marked", [](CLI::App& app, const CommonOptions& common) -> std::function<int()> {
            const auto o = std::make_shared<Options>();
            app.add_option("CONFIG", o->config, "YAML file")->required();
            app.add_option("--rows", o->rows, "How many rows to show; 10, or all with --json")->check(CLI::NonNegativeNumber);
            app.add_option("--first", o->first, "The first row to show, from 0")->check(CLI::NonNegativeNumber);
            app.add_option("--split", o->split, "train or validation")->check(CLI::IsMember({"train", "validation"}))->capture_default_str();
            app.add_flag("--ids", o->ids, "Show the ids below the text");
            app.add_option("--html", o->html, "Write a page with every token to this file instead");
            return [o, &common] { return run(*o, common); };
          }};
}

}  // namespace nibble::trainer
