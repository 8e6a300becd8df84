#include "tests/faults/fault_trial.h"

#include <cerrno>
#include <cstring>

namespace nibble::faults {
namespace fs = std::filesystem;
namespace {

constexpr int kKilled = 128 + SIGKILL;

// Of a run that failed: the message of --json's last line names a file and the system's reason.
std::string wrong_message(const test::ProgramResult& result, const Mode& mode) {
  const std::string reason = std::strerror(mode.name.find("enospc") != std::string::npos ? ENOSPC : EIO);
  nlohmann::json error;
  try {
    error = result.error();
  } catch (const nlohmann::json::exception&) {
    return "the last line of stderr is no object: " + result.err;
  }
  if (error.value("error", "") != "IoError") return "the error is no IoError: " + error.dump();
  if (!error.at("file").is_string()) return "the error names no file: " + error.dump();
  if (error.at("message").get<std::string>().find(reason) == std::string::npos) return fmt::format("the error does not say '{}': {}", reason, error.dump());
  return "";
}

std::string wrong_exit(const FaultyResult& first, const Mode& mode, bool reached) {
  const int code = first.program.exit_code;
  if (first.hung) return "it hung";
  if (!reached || mode.expected == Expected::kPasses) return code == 0 ? "" : fmt::format("exit code {}: {}", code, first.program.err);
  if (mode.expected == Expected::kEnds) return code == kKilled ? "" : fmt::format("exit code {} of a process that was to be killed: {}", code, first.program.err);
  if (code == 0) return "";
  return code == 1 ? wrong_message(first.program, mode) : fmt::format("exit code {}: {}", code, first.program.err);
}

}  // namespace

const std::vector<Mode>& all_modes() {
  static const std::vector<Mode> modes{
      {"kill", Expected::kEnds, false, false, false},       {"kill_after", Expected::kEnds, false, false, false},
      {"half_kill", Expected::kEnds, true, false, false},   {"half_enospc", Expected::kFails, true, true, false},
      {"half_eio", Expected::kFails, true, false, false},   {"enospc", Expected::kFails, false, true, false},
      {"eio", Expected::kFails, false, false, false},       {"enospc_on", Expected::kFails, false, true, false},
      {"eio_on", Expected::kFails, false, false, false},    {"cut_names", Expected::kEnds, false, false, false},
      {"cut_all", Expected::kEnds, false, false, false},    {"cut_removed", Expected::kEnds, false, false, false},    {"short_all", Expected::kPasses, true, false, true},
      {"eintr_all", Expected::kPasses, true, false, true}};
  return modes;
}

std::vector<int64_t> points_of(const Mode& mode, const std::vector<TracedOperation>& trace) {
  if (mode.everywhere) return {0};
  std::vector<int64_t> points;
  for (const TracedOperation& operation : trace) {
    const bool removes = operation.kind == "unlink" || operation.kind == "rmdir";
    if ((mode.writes_only && operation.kind != "write") || (mode.needs_room && removes)) continue;
    points.push_back(operation.number);
  }
  return points;
}

TrialResult try_fault(const Workload& workload, const Mode& mode, int64_t point, const fs::path& trial) {
  fs::remove_all(trial);
  fs::create_directories(trial);
  workload.prepare(trial);
  const FaultyResult first = run_with_faults(trial, workload.arguments(trial), workload.watched, {mode.name, point});
  std::vector<TracedOperation> done;
  TrialResult result;
  for (const TracedOperation& operation : first.trace) {
    if (mode.everywhere || operation.number < point) done.push_back(operation);
    result.reached = result.reached || mode.everywhere || operation.number == point;
  }
  // Where threads write, a count may end sooner, and a write of a run without faults be another operation here.
  const bool met = result.reached && (!mode.writes_only || mode.everywhere || first.trace[static_cast<size_t>(point - 1)].kind == "write");
  result.reached = met;
  if (!(result.wrong = wrong_exit(first, mode, met)).empty()) return result;
  if (!(result.wrong = workload.after_fault(trial, done)).empty()) return result;
  result.survived = met && mode.expected == Expected::kFails && first.program.exit_code == 0;
  if (first.program.exit_code != 0) {
    const FaultyResult again = run_with_faults(trial, workload.again(trial), workload.watched, {});
    if (again.program.exit_code != 0) {
      result.wrong = fmt::format("the run after it: exit code {}: {}", again.program.exit_code, again.program.err);
      return result;
    }
    if (!(result.wrong = workload.after_again(again.program, done)).empty()) return result;
  }
  result.wrong = workload.at_end(trial);
  return result;
}

}  // namespace nibble::faults
