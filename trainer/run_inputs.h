// What a run reads: the base's headers, the tokenizer, the rows. Opened before anything large is allocated.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "io/weight_source.h"
#include "schema/load.h"
#include "trainer/memory_plan.h"
#include "trainer/plan_budget.h"
#include "trainer/run_data.h"
#include "trainer/run_state.h"

namespace nibble::trainer {

struct RunInputs {
  std::unique_ptr<io::WeightSource> source;
  data::Tokenizer tokenizer;
  RunData data;
  PlanInput plan;                    // with the choices that the run will use
  Budget budget;                     // what it may use where it computes
  RunState identity;                 // hashes of base, data, tokenizer and keys; nothing else is set
};

// The plan is for `place`. THROWS what opening them throws.
RunInputs open_run_inputs(const schema::RunConfig& config, const nn::Place& place = {}, const DataHooks& hooks = {});

// What was chosen within the budget and what it costs, in one or two lines.
std::vector<std::string> describe_plan(const RunInputs& inputs);

// Puts the choices into a run's state. A resumed run keeps the loss chunk that it began with, the one choice that could change
// a number, and says on `say` what else it chooses otherwise than before.
void settle_choices(RunInputs& inputs, const schema::RunConfig& config, RunState& state, const std::function<void(const std::string&)>& say);

}  // namespace nibble::trainer
