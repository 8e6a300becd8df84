// A run that kills itself, for `nibble verify-resume`: as the kernel kills one that takes too much memory, without a word to anybody.
#pragma once

#include <cstdint>
#include <filesystem>

#include "trainer/run_state.h"
#include "trainer/train_loop.h"

namespace nibble::trainer {

// SIGKILL at the end of the step that follows checkpoint-`step`, as soon as that checkpoint is in `run` (it may be written in the
// background). `state` is the loop's and outlives the hooks. THROWS RunError where it is not there after a minute.
void add_kill_point(LoopHooks& hooks, const RunState& state, const std::filesystem::path& run, int64_t step);

}  // namespace nibble::trainer
