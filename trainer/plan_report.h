// A memory plan for people and for scripts.
#pragma once

#include <string>

#include "nn/recompute.h"
#include "trainer/memory_plan.h"

namespace nibble::trainer {

std::string plan_text(const MemoryPlan& plan, const PlanInput& input, int64_t limit_bytes);
// {"components": [{"name", "device", "bytes"}], "total_bytes": {"cpu": N}, "fits": {"cpu": bool, "limit_bytes": N},
//  "choices": {"recompute": NAME, "pass_tokens": N}}
std::string plan_json(const MemoryPlan& plan, const PlanInput& input, int64_t limit_bytes);

}  // namespace nibble::trainer
