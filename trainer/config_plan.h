// The plan of a configuration, from it and the base's headers alone: no data is read, no GPU is needed, nothing is allocated.
#pragma once

#include "schema/run_config.h"
#include "trainer/plan_report.h"

namespace nibble::trainer {

// For a GPU where the configuration says device: cuda or `gpu_memory_gib` is above 0 (its nominal memory), else for this CPU. On
// a GPU without a size: the smallest card that trains it. In any case the verdicts for the usual cards. THROWS as
// read_base_shape.
PlanReport plan_config(const schema::RunConfig& config, double gpu_memory_gib);

}  // namespace nibble::trainer
