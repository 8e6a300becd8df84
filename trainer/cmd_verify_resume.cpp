// nibble verify-resume CONFIG: proves that a run of this configuration, killed and resumed, ends at the same bits.
#include <CLI/CLI.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/checkpoint.h"
#include "schema/load.h"
#include "trainer/command.h"
#include "trainer/progress.h"
#include "trainer/verify_resume.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string config;
  int64_t steps = 6;
  bool keep = false;
};

// The runs' folder, removed at the end unless it is to be kept.
class VerifyFolder {
 public:
  VerifyFolder(const fs::path& output_dir, bool keep) : path_(make_verify_folder(output_dir)), keep_(keep) {}
  VerifyFolder(const VerifyFolder&) = delete;
  ~VerifyFolder() {
    std::error_code ignored;
    if (!keep_) fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  bool keep_;
};

std::string verdict_json(const VerifyResult& result, const Options& options, const fs::path& folder, double seconds) {
  const RunComparison& c = result.comparison;
  nlohmann::ordered_json out{{"same", !c.difference}, {"steps", options.steps}, {"resumed_from", result.saved_step}, {"tensors", c.tensors},
                             {"values", c.values}, {"state_fields", c.state_fields}, {"metrics_rows", c.metrics_rows}, {"seconds", seconds},
                             {"difference", nullptr}, {"folder", nullptr}};
  if (c.difference) out["difference"] = {{"where", c.difference->where}, {"in_one_go", c.difference->first}, {"resumed", c.difference->second}};
  if (options.keep) out["folder"] = folder.string();
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string verdict_text(const VerifyResult& result, const Options& options, const fs::path& folder, double seconds) {
  const RunComparison& c = result.comparison;
  std::string text = fmt::format("compared bit for bit: {} tensors of adapter and optimizer ({} values), {} fields of trainer_state.json, {} rows of metrics.jsonl\n",
                                 c.tensors, c.values, c.state_fields, c.metrics_rows);
  const std::string what = fmt::format("{} steps killed and resumed from {}", options.steps, io::checkpoint_name(result.saved_step));
  if (c.difference) {
    text += fmt::format("DIFFERENT: {}\n  in one go: {}\n  resumed:   {}\n", c.difference->where, c.difference->first, c.difference->second);
  } else {
    text += fmt::format("the same: {} end at the bits of {} steps in one go ({:.1f} s)\n", what, options.steps, seconds);
  }
  if (options.keep) text += fmt::format("kept: {}\n", folder.string());
  return text;
}

int run(const Options& options, const CommonOptions& common) {
  const auto start = std::chrono::steady_clock::now();
  const StopRequest stop;
  Progress progress(std::cerr, terminal_columns(STDERR_FILENO));
  const auto say = [&](const std::string& text) { progress.message(text); };
  const schema::LoadedConfig loaded = schema::load_run_config(options.config, common.set, schema::Needs::kTraining);
  for (const std::string& note : loaded.notes) say(note);
  const VerifyFolder folder(loaded.config.output_dir, options.keep);
  const VerifyResult result = verify_resume({options.config, common.set, folder.path(), options.steps}, stop, say);
  if (result.failed_with != 0) {
    say(fmt::format("the run '{}' ended with exit code {}; what it said:", result.failed_run, result.failed_with));
    std::cerr << result.said;  // with --json, its last line is the error's object
    return result.failed_with;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::cout << (common.json ? verdict_json(result, options, folder.path(), seconds) + "\n" : verdict_text(result, options, folder.path(), seconds));
  return static_cast<int>(result.comparison.difference ? ExitCode::kRunFailed : ExitCode::kOk);
}

}  // namespace

Command make_verify_resume_command() {
  return {"verify-resume", "Prove that a killed and resumed run ends at the same bits", [](CLI::App& app, const CommonOptions& common) -> std::function<int()> {
            const auto o = std::make_shared<Options>();
            app.add_option("CONFIG", o->config, "YAML file; its output_dir is not touched")->required();
            app.add_option("--steps", o->steps, "Optimizer steps of each run; the checkpoint is at half of them")
                ->check(CLI::Range(int64_t{2}, int64_t{1000000}))->capture_default_str();
            app.add_flag("--keep", o->keep, "Keep the runs' folder and say where it is");
            return [o, &common] { return run(*o, common); };
          }};
}

}  // namespace nibble::trainer
