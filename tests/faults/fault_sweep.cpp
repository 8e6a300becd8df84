// fault_sweep: runs workloads with every fault at every point, and counts.
//
//   fault_sweep [--workload NAME]... [--mode NAME]... [--point N] [--stride N] [--jobs N] [--keep FOLDER]
//
// --stride N: every N-th point only, another first one in each mode. --point: one point, to look into it. --keep: the folder of a
// trial that failed is moved there. Exit code 1 where one failed.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "tests/faults/fault_trial.h"

namespace nibble::faults {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> workloads, modes;
  int64_t point = -1, stride = 1, jobs = std::max<int64_t>(1, std::thread::hardware_concurrency());
  std::string keep;
};

Options read_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 >= argc) throw std::runtime_error(name + " needs a value");
    const std::string value = argv[i + 1];
    if (name == "--workload") {
      options.workloads.push_back(value);
    } else if (name == "--mode") {
      options.modes.push_back(value);
    } else if (name == "--keep") {
      options.keep = value;
    } else if (name == "--point" || name == "--stride" || name == "--jobs") {
      (name == "--point" ? options.point : name == "--stride" ? options.stride : options.jobs) = std::stoll(value);
    } else {
      throw std::runtime_error("no such option: " + name);
    }
  }
  if (options.workloads.empty()) options.workloads = workload_names();
  if (options.modes.empty()) {
    for (const Mode& mode : all_modes()) options.modes.push_back(mode.name);
  }
  if (options.stride < 1 || options.jobs < 1) throw std::runtime_error("--stride and --jobs count from 1");
  return options;
}

struct Trial {
  const Mode* mode;
  int64_t point;
  TracedOperation at;
};

std::vector<Trial> trials_of(const Options& options, const std::vector<TracedOperation>& trace) {
  std::vector<Trial> trials;
  int64_t offset = 0;
  for (const Mode& mode : all_modes()) {
    if (std::find(options.modes.begin(), options.modes.end(), mode.name) == options.modes.end()) continue;
    const auto points = points_of(mode, trace);
    const int64_t stride = std::min(options.stride, static_cast<int64_t>(points.size()));
    for (size_t p = 0; p < points.size(); ++p) {
      if (options.point >= 0 ? points[p] != options.point : static_cast<int64_t>(p) % stride != offset % stride) continue;
      trials.push_back({&mode, points[p], points[p] > 0 ? trace[static_cast<size_t>(points[p] - 1)] : TracedOperation{}});
    }
    ++offset;
  }
  return trials;
}

struct Count {
  int64_t tried = 0, reached = 0, survived = 0, failed = 0;
};

// Every trial of one workload, several at a time. Returns counts by mode.
std::map<std::string, Count> sweep(const Workload& workload, const Options& options, const test::RunWorkshop& shop) {
  const fs::path counted = shop / "counted";
  fs::create_directories(counted);
  workload.prepare(counted);
  const FaultyResult plain = run_with_faults(counted, workload.arguments(counted), workload.watched, {});
  if (plain.program.exit_code != 0) throw std::runtime_error("the run without faults failed: " + plain.program.err);
  if (const std::string wrong = workload.at_end(counted); !wrong.empty()) throw std::runtime_error("the run without faults is not its reference: " + wrong);
  fs::remove_all(counted);
  fmt::print("{}: {} operations\n", workload.name, plain.trace.size());
  std::fflush(stdout);
  const std::vector<Trial> trials = trials_of(options, plain.trace);
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  std::map<std::string, Count> counts;
  const auto work = [&](int64_t worker) {
    const fs::path folder = shop / fmt::format("trial-{}", worker);
    for (size_t t; (t = next++) < trials.size();) {
      const Trial& trial = trials[t];
      const TrialResult result = try_fault(workload, *trial.mode, trial.point, folder);
      const std::lock_guard lock(mutex);
      Count& count = counts[trial.mode->name];
      ++count.tried;
      count.reached += result.reached ? 1 : 0;
      count.survived += result.survived ? 1 : 0;
      if (result.wrong.empty()) continue;
      ++count.failed;
      fmt::print("FAILED --workload {} --mode {} --point {} ({} {} {}): {}\n", workload.name, trial.mode->name, trial.point, trial.at.kind, trial.at.path,
                 trial.at.to, result.wrong);
      std::fflush(stdout);
      if (options.keep.empty()) continue;
      const fs::path kept = fs::path(options.keep) / fmt::format("{}-{}-{}", workload.name, trial.mode->name, trial.point);
      fs::create_directories(kept);
      fs::copy(folder, kept, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
    }
    fs::remove_all(folder);
  };
  std::vector<std::thread> workers;
  for (int64_t w = 0; w < options.jobs; ++w) workers.emplace_back(work, w);
  for (std::thread& worker : workers) worker.join();
  return counts;
}

int run(const Options& options) {
  const test::RunWorkshop shop;
  int64_t tried = 0, failed = 0;
  fmt::print("{:<24} {:<12} {:>6} {:>8} {:>9} {:>7}\n", "workload", "fault", "tried", "reached", "survived", "failed");
  for (const auto& workload : make_workloads(shop, options.workloads)) {
    for (const auto& [mode, count] : sweep(*workload, options, shop)) {
      fmt::print("{:<24} {:<12} {:>6} {:>8} {:>9} {:>7}\n", workload->name, mode, count.tried, count.reached, count.survived, count.failed);
      tried += count.tried;
      failed += count.failed;
    }
    std::fflush(stdout);
  }
  fmt::print("{} faults tried, {} failed\n", tried, failed);
  return failed == 0 && tried > 0 ? 0 : 1;
}

}  // namespace
}  // namespace nibble::faults

int main(int argc, char** argv) {
  try {
    return nibble::faults::run(nibble::faults::read_options(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fault_sweep: %s\n", error.what());
    return 2;
  }
}
