// A memory plan for people and for scripts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "trainer/plan_advice.h"
#include "trainer/plan_budget.h"

namespace nibble::trainer {

struct PlanReport {
  PlanInput input;            // with the choices made
  MemoryPlan plan;
  int64_t budget_bytes = 0;   // what the run may use where it computes
  std::string budget_of;      // "this machine", "max_memory", "a GPU of 8 GB"
  std::optional<HardwareSpeed> speed;
  std::vector<CardVerdict> cards;
  std::vector<PlanChange> changes;  // where it does not fit
  std::vector<MoreMemory> more;

  bool fits() const { return plan.total_bytes() <= budget_bytes; }
};

// The table with bars, the verdict and what could be changed.
std::string plan_text(const PlanReport& report);
// {"components": [{"name", "device", "bytes"}], "total_bytes": {DEVICE: N}, "fits": {"6": bool, ..., DEVICE: bool, "limit_bytes": N},
//  "choices": {...}, "tokens_per_s", "cards": [...], "changes": [...], "more_memory": [...]}
std::string plan_json(const PlanReport& report);

// Why a run is refused: the table, what is missing, and the changes that would make it fit.
std::string refusal_text(const PlanInput& input, const Budget& budget);

// Of a plan alone, against a limit.
std::string plan_text(const MemoryPlan& plan, const PlanInput& input, int64_t limit_bytes);
std::string plan_json(const MemoryPlan& plan, const PlanInput& input, int64_t limit_bytes);

}  // namespace nibble::trainer
