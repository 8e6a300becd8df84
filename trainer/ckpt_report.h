// What `nibble ckpt list|verify` finds and how it is shown; the command itself is trainer/cmd_ckpt.cpp.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/error.h"
#include "io/checkpoint.h"

namespace nibble::trainer {

// The checkpoints of a run folder, or the one that `folder` itself is. Takes no lock: a run may be at work there. THROWS IoError where the folder cannot be read.
std::vector<io::CheckpointInfo> find_checkpoints(const std::filesystem::path& folder, io::CheckDepth depth);

// {"checkpoints": [{"path", "step", "state", "reason"}]}; reason is null for a good one.
std::string ckpt_json(const std::vector<io::CheckpointInfo>& checkpoints);

// One line a checkpoint: state, path, reason. Ends with a newline unless there is nothing to say.
std::string ckpt_text(const std::vector<io::CheckpointInfo>& checkpoints);

// What verifying ends with: kDamagedFile where any checkpoint is not good. What is under a temporary name is none yet: it is being
// written, or the next run removes it.
ExitCode ckpt_verdict(const std::vector<io::CheckpointInfo>& checkpoints);

}  // namespace nibble::trainer
