#include "tests/faults/faulty_run.h"

#include <chrono>
#include <thread>

namespace nibble::faults {
namespace fs = std::filesystem;
namespace {

std::vector<TracedOperation> read_trace(const fs::path& file) {
  std::vector<TracedOperation> trace;
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string number;
    TracedOperation operation;
    std::getline(words, number, '\t');
    std::getline(words, operation.kind, '\t');
    std::getline(words, operation.path, '\t');
    std::getline(words, operation.to, '\t');
    operation.number = std::stoll(number);
    trace.push_back(operation);
  }
  return trace;
}

}  // namespace

FaultyResult run_with_faults(const fs::path& home, const std::vector<std::string>& arguments, const std::vector<std::string>& watched,
                             const FaultChoice& fault, const std::string& free_space) {
  const fs::path trace = home / "trace.txt", aside = home / "aside";
  fs::remove(trace);
  fs::remove_all(aside);
  fs::create_directories(aside);
  std::string under;
  for (const std::string& folder : watched) under += (home / folder).string() + ":";
  std::vector<std::pair<std::string, std::string>> environment{{"LD_PRELOAD", NIBBLE_FAULT_LAYER}, {"NIBBLE_FAULT_UNDER", under},
                                                               {"NIBBLE_FAULT", fault.name}, {"NIBBLE_FAULT_POINT", std::to_string(fault.point)},
                                                               {"NIBBLE_FAULT_TRACE", trace.string()}, {"NIBBLE_FAULT_ASIDE", aside.string()}};
  if (!free_space.empty()) environment.emplace_back("NIBBLE_FAULT_FREE", free_space);
  test::Program program(home, arguments, RLIM_INFINITY, RLIM_INFINITY, environment);
  FaultyResult result;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(kPatienceSeconds);
  while (program.running()) {
    if (std::chrono::steady_clock::now() > deadline) {
      result.hung = true;
      program.send(SIGKILL);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  result.program = program.wait();
  result.trace = read_trace(trace);
  return result;
}

}  // namespace nibble::faults
