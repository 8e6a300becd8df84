// One fault in one run: what may follow, and whether it did.
#pragma once

#include <string>
#include <vector>

#include "tests/faults/workload.h"

namespace nibble::faults {

enum class Expected : uint8_t {
  kEnds,    // the process is killed
  kFails,   // exit code 1 with file and reason, or the run does without what failed
  kPasses,  // nothing shows
};

struct Mode {
  std::string name;       // of the fault (fault_point.h)
  Expected expected;
  bool writes_only;       // at writes alone
  bool needs_room;        // not where something is removed
  bool everywhere;        // one run, no point
};
const std::vector<Mode>& all_modes();

// The points of a run without faults at which a mode is worth a trial.
std::vector<int64_t> points_of(const Mode& mode, const std::vector<TracedOperation>& trace);

struct TrialResult {
  std::string wrong;      // "" where all held
  bool reached = false;   // the fault took place
  bool survived = false;  // an error after which the run went on to its right end
};

// Runs the workload in the folder `trial`, made anew, with the fault; then again without; compares.
TrialResult try_fault(const Workload& workload, const Mode& mode, int64_t point, const std::filesystem::path& trial);

}  // namespace nibble::faults
