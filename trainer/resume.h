// Finding the checkpoint that a run continues, and proving that it is the same run.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "schema/load.h"
#include "trainer/run_state.h"

namespace nibble::trainer {

struct ResumeChoice {
  bool resume = false;     // else a fresh start
  std::string from;        // "checkpoint-100"; "": the newest good one
};

struct ResumePoint {
  std::filesystem::path checkpoint;
  RunState state;
};

// Of a checkpoint that was found good. THROWS FormatError, IoError
ResumePoint read_resume_point(const std::filesystem::path& checkpoint);

// The checkpoint to continue; nullopt: none is there (fresh start). Tells `say` what it skipped and why.
// THROWS FormatError where `from` names one that is not good; ConfigError where a fresh start would overwrite an earlier
// run's good checkpoints.
std::optional<ResumePoint> find_resume_point(const std::filesystem::path& run_folder, const ResumeChoice& choice,
                                             const std::function<void(const std::string&)>& say);

// What must be the same: keys, base, data, tokenizer. Differences in other keys are told. THROWS ConfigError with both
// values of everything that differs.
void check_same_run(const ResumePoint& point, const schema::LoadedConfig& now, const RunState& inputs,
                    const std::function<void(const std::string&)>& say);

}  // namespace nibble::trainer
