// Going back to a checkpoint in the middle of a run: adapter, optimizer, data position and metrics are then as if the run had been
// resumed there.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "data/sampler.h"
#include "optim/optimizer.h"
#include "trainer/metrics.h"
#include "trainer/resume.h"
#include "trainer/run_folder.h"

namespace nibble::trainer {

// The newest good checkpoint at or before the state's step; nullopt: there is none. Later ones are of a run that was left for this one.
// Tells `say` which it passed by and why.
std::optional<ResumePoint> find_rewind_point(const std::filesystem::path& run_folder, const RunState& now,
                                             const std::function<void(const std::string&)>& say);

// What has to follow when a run goes back. All of it is of that run.
struct RewindParts {
  optim::Optimizer& optimizer;   // with the adapter: its parameters are written from the masters
  data::BatchStream& batches;
  MetricsLog& metrics;
};

// -> the checkpoint's state, with what the process that is running has settled (seed, number of steps, choices, hashes).
// THROWS what reading the checkpoint throws; then the optimizer is as it was, or no step may follow.
RunState rewind_run(const RewindParts& parts, const RunState& now, const ResumePoint& point);

}  // namespace nibble::trainer
