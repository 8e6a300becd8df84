// Finding the checkpoint that a run continues, and proving that it is the same run.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "schema/load.h"
#include "trainer/allowed_changes.h"
#include "trainer/run_state.h"

namespace nibble::trainer {

struct ResumeChoice {
  bool resume = false;     // else a fresh start
  std::string from;        // "checkpoint-100"; "": the newest good one
  AllowedChanges allowed;  // what may differ although it must match
};

struct ResumePoint {
  std::filesystem::path checkpoint;
  RunState state;
};

// Of a checkpoint that was found good. THROWS FormatError, IoError
ResumePoint read_resume_point(const std::filesystem::path& checkpoint);

// The checkpoint to continue; nullopt: none is there (fresh start). Tells `say` what it skipped and why.
// THROWS FormatError where `from` names one that is not good, where there are checkpoints but none is good, or where the state of a good
// one is not what this nibble writes;
// ConfigError where a fresh start would overwrite an earlier run's good checkpoints.
std::optional<ResumePoint> find_resume_point(const std::filesystem::path& run_folder, const ResumeChoice& choice,
                                             const std::function<void(const std::string&)>& say);

// What must be the same: keys, base, data, tokenizer. Differences in other keys are told; a path that leads to the same file is none.
// Returns what differs of the first kind and was allowed. THROWS ConfigError with both values of everything that was not;
// FormatError where the checkpoint's configuration is not one that this nibble knows.
std::vector<RunChange> check_same_run(const ResumePoint& point, const schema::LoadedConfig& now, const RunState& inputs,
                                      const AllowedChanges& allowed, const std::function<void(const std::string&)>& say);

}  // namespace nibble::trainer
