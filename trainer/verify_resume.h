// The proof that a configuration's runs resume exactly: N steps in one go, and N steps killed after the checkpoint of about N/2 and
// resumed, compared bit for bit.
//
// Each run is a process of this same binary, so that what dies is what would die, and nothing of the first is left in memory. The
// configuration's output_dir is not touched: the runs write to a folder of their own beside it, and prepared data are shared as
// between any runs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "trainer/compare_runs.h"
#include "trainer/stop_request.h"

namespace nibble::trainer {

struct VerifyOptions {
  std::string config;             // the YAML file
  std::vector<std::string> set;   // the command line's
  std::filesystem::path folder;   // of the two runs
  int64_t steps = 6;              // REQUIRES at least 2
};

struct VerifyResult {
  // Of a run of the three that did not end as it should: its exit code, and what it said; 0: all did.
  int failed_with = 0;
  std::string failed_run, said;
  int64_t saved_step = 0;         // of the checkpoint that the second run continued from
  RunComparison comparison;
};

// Says on `say` what it is at. THROWS Interrupted, IoError, what compare_runs throws.
VerifyResult verify_resume(const VerifyOptions& options, const StopRequest& stop, const std::function<void(const std::string&)>& say);

// A folder for it near `output_dir`, where there is room for checkpoints if anywhere: in the nearest folder above that exists and may be
// written to, else in $TMPDIR or /tmp. THROWS IoError
std::filesystem::path make_verify_folder(const std::filesystem::path& output_dir);

}  // namespace nibble::trainer
