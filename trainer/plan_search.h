// Chooses what fits a budget and takes the least time.
//
// Tried are all combinations of what is not fixed: passes at a time, embedding on the device or the host, chunks of the loss, how much of a
// paged optimizer's state is resident, the base resident or streamed. For each, the mix of recompute levels that fits at the
// least cost: layers at the bottom rebuild more, those at the top less, for the stack of kept activations is highest when the
// top layers' backward runs. Between two levels the smallest number of rebuilding layers that fits is found by bisection. What is
// left then may hold the copy from which checkpoints are written in the background.
#pragma once

#include "trainer/memory_plan.h"
#include "trainer/plan_speed.h"

namespace nibble::trainer {

struct PlannedRun {
  PlanInput input;            // with the choices made
  bool fits = false;          // false: the choices are those with the fewest bytes
  double seconds = 0;         // of a micro-batch
};

// The budget is the computing device's.
PlannedRun search_plan(const PlanInput& input, int64_t budget_bytes, const HardwareSpeed& speed);

// The choices of a run that has all the memory that it could use: what is fixed, and else the fastest.
MemoryChoices fastest_choices(const PlanInput& input);

}  // namespace nibble::trainer
