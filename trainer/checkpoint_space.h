// Whether the disk holds what a run will save, before it is trained and before each save.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "nn/model.h"
#include "optim/optimizer.h"
#include "schema/run_config.h"
#include "trainer/run_state.h"

namespace nibble::trainer {

// Of the files that one checkpoint holds; the few KiB of text beside the tensors are a guess.
int64_t checkpoint_bytes(const nn::Model& model, const optim::Optimizer& optimizer);

// THROWS IoError where the disk does not hold the checkpoint that is to be saved now.
void expect_room_to_save(const std::filesystem::path& run_folder, int64_t step, int64_t bytes);

// At the start of a run: THROWS IoError where not even its next checkpoint fits. A line for people where that does, but not all that
// save_total_limit keeps at a time (and the one that is being written).
std::optional<std::string> foresee_checkpoints(const schema::RunConfig& config, const std::filesystem::path& run_folder, const RunState& state,
                                               int64_t bytes);

}  // namespace nibble::trainer
