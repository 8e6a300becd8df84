// Training runs under faults: every step saved, old checkpoints rotated away, caches written for the first time.
#include "tests/faults/train_workload.h"

#include <stdexcept>

#include "io/checkpoint.h"
#include "tests/faults/file_tree.h"
#include "tests/trainer/exact_metrics.h"

namespace nibble::faults {
namespace fs = std::filesystem;
namespace {

constexpr const char* kRun = "run";

// The newest step whose checkpoint was on disk by the program's own account: renamed, and its folder synced after that.
int64_t promised_step(const fs::path& run, const std::vector<TracedOperation>& done) {
  int64_t renamed = 0, promised = 0;
  for (const TracedOperation& operation : done) {
    if (operation.kind == "rename" && fs::path(operation.to).parent_path() == run) {
      renamed = io::checkpoint_step(fs::path(operation.to).filename().string()).value_or(renamed);
    }
    if (operation.kind == "sync" && operation.path == run.string()) promised = renamed;
  }
  return promised;
}

// Notes that a cache was proved right come when its file's time allows, and go with nothing.
bool may_be_there(const std::string& name) { return name.ends_with(".verified") || name.ends_with(".hash"); }

}  // namespace

TrainWorkload::TrainWorkload(const test::RunWorkshop& shop, std::string name, std::vector<std::string> watched, std::vector<std::string> settings)
    : Workload(std::move(name), std::move(watched)), shop_(shop), settings_(std::move(settings)), reference_(shop / ("reference-" + this->name)) {
  fs::create_directories(reference_);
  const auto result = test::Program(reference_, arguments(reference_)).wait();
  if (result.exit_code != 0) throw std::runtime_error("the run without faults failed: " + result.err);
}

std::vector<std::string> TrainWorkload::arguments(const fs::path& trial) const {
  std::vector<std::string> words{"train", shop_("run.yaml"), "--json", "--resume", "--set", "output_dir=" + (trial / kRun).string()};
  for (const std::string& setting : settings_) {
    // "key=@folder": below the trial's own.
    const size_t at = setting.find("=@");
    words.insert(words.end(), {"--set", at == std::string::npos ? setting : setting.substr(0, at + 1) + (trial / setting.substr(at + 2)).string()});
  }
  return words;
}

std::string TrainWorkload::after_fault(const fs::path& trial, const std::vector<TracedOperation>& done) const {
  const fs::path run = trial / kRun;
  const int64_t promised = promised_step(run, done);
  int64_t newest = 0;
  if (fs::exists(run)) {
    for (const io::CheckpointInfo& info : io::list_checkpoints(run, io::CheckDepth::kChecksums)) {
      const bool is_final = info.path.filename() == io::checkpoint_name(info.step);
      if (is_final && info.state != io::CheckpointState::kGood) {
        return fmt::format("{} is {}: {}", info.path.filename().string(), io::checkpoint_state_name(info.state), info.reason);
      }
      if (is_final) newest = info.step;
    }
  }
  return newest < promised ? fmt::format("checkpoint-{} was saved, and the newest good one is of step {}", promised, newest) : "";
}

std::string TrainWorkload::after_again(const test::ProgramResult& result, const std::vector<TracedOperation>&) const {
  if (result.err.find("skipped, it is") != std::string::npos) return "the continued run skipped a checkpoint: " + result.err;
  return result.err.find("cannot be used") == std::string::npos ? "" : "the continued run met a damaged cache: " + result.err;
}

std::string TrainWorkload::at_end(const fs::path& trial) const {
  for (const std::string& folder : watched) {
    const FileTree found = file_tree(trial / folder), expected = file_tree(reference_ / folder);
    for (const auto& [name, bytes] : found) {
      if (expected.count(name) == 0 && !may_be_there(name)) return fmt::format("{}/{} is left over", folder, name);
    }
    if (folder != kRun) continue;
    for (const auto& [name, bytes] : expected) {
      const auto it = found.find(name);
      if (it == found.end()) return fmt::format("{}/{} is missing", folder, name);
      const std::string file = fs::path(name).filename().string();
      const bool exact = file.starts_with("adapter_") || file == io::kOptimizerFile;
      if (exact && it->second != bytes) return fmt::format("{}/{} differs from the uninterrupted run's", folder, name);
    }
  }
  for (const io::CheckpointInfo& info : io::list_checkpoints(trial / kRun, io::CheckDepth::kChecksums)) {
    if (info.state != io::CheckpointState::kGood) return fmt::format("{} is not good: {}", info.path.filename().string(), info.reason);
  }
  return test::exact_metrics(trial / kRun) == test::exact_metrics(reference_ / kRun) ? "" : "metrics.jsonl differs from the uninterrupted run's";
}

}  // namespace nibble::faults
