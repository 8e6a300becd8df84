// How a run's steps are made, and what happens after which of them, as configuration, plan and place say.
#pragma once

#include "schema/run_config.h"
#include "trainer/train_loop.h"
#include "trainer/training_model.h"

namespace nibble::trainer {

// `on`'s optimizer, where it is paged, is told of every layer that backward reaches.
StepOptions step_options(const schema::RunConfig& config, const PlanInput& plan, const nn::Place& place, TrainingModel& on);

LoopSchedule loop_schedule(const schema::RunConfig& config, int64_t max_steps);

}  // namespace nibble::trainer
