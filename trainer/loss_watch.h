// Notices a step whose loss lies far above those before it, before the step's update is made.
//
// Mean and variance of the steps' losses (nats per trained token) are running ones that forget (West, "Updating mean and variance
// estimates", CACM 22(9), 1979, with weights of our own): over the last third of the run so far, and of at most kLossWatchMemory
// steps, so that the fall at a run's start is soon forgotten. The limit is mean + threshold * deviation, where the deviation is at
// least a share of the mean: a run that learns its data by heart has losses that hardly differ, and a harder batch is no accident
// then. Nothing is noticed in the first steps. A loss above the limit that is trained on all the same counts as the limit, so that one
// spike does not hide the next ones, and a loss that stays higher is the new mean after a while. What was measured: docs/reliability.md.
#pragma once

#include <cstdint>

#include "trainer/run_state.h"

namespace nibble::trainer {

inline constexpr int64_t kLossWatchMemory = 100;      // steps
inline constexpr int64_t kLossWatchWarmup = 20;       // steps before any is a spike
inline constexpr double kLossWatchLeastShare = 0.05;  // of the mean: the deviation is taken to be at least this

// The largest loss that is no spike; infinity while too few steps are known.
double spike_limit(const LossWatchState& watch, double threshold);

// Takes the loss of a step that was trained on. REQUIRES a finite loss.
void watch_loss(LossWatchState& watch, double loss, double threshold);

}  // namespace nibble::trainer
