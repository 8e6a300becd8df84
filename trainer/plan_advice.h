// What the plan says beside its table: which cards a run fits, the smallest changes that make it fit, what more memory buys.
#pragma once

#include <string>
#include <vector>

#include "trainer/plan_search.h"

namespace nibble::trainer {

// Of a card's nominal memory, what the driver and a display keep.
inline constexpr int64_t kCardReserveBytes = 3 * (int64_t{1} << 30) / 10;

struct CardVerdict {
  int64_t gib = 0;           // nominal
  int64_t usable_bytes = 0;
  PlannedRun run;
  int64_t bytes = 0;         // of the plan, on the card
  int64_t host_bytes = 0;
  const HardwareSpeed* gpu = nullptr;  // of a typical card of this size
};

// For cards of 6, 8, 12, 16 and 24 GB. REQUIRES an input for a GPU.
std::vector<CardVerdict> card_verdicts(const PlanInput& input);

struct PlanChange {
  std::vector<std::string> keys;  // "max_length: 1024"
  int64_t bytes = 0;              // of the plan with it
  double cost = 0;                // of a token's time, relative to the run without a limit of memory: 0.1 is 10 % more
  bool same_numbers = false;      // whether training gives the same numbers
};

// For a run that does not fit the budget: single changes that make it fit, or where none does, changes together; those
// that keep the numbers first, then by cost. Empty: nothing that is known helps.
std::vector<PlanChange> changes_that_fit(const PlanInput& input, int64_t budget_bytes, const HardwareSpeed& speed);

struct MoreMemory {
  int64_t bytes = 0;     // of the budget
  double faster = 0;     // of a token's time saved: 0.1 is 10 % less
  std::string choices;
};

// What budgets larger than this one would buy: each that is at least 2 % faster than the one before.
std::vector<MoreMemory> more_memory(const PlannedRun& run, int64_t budget_bytes, const HardwareSpeed& speed);

}  // namespace nibble::trainer
