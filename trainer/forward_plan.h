// The memory of a model that only goes forward: eval and generate. What the configuration leaves open about the base, resident or
// streamed, embedding on the device or the host, is chosen as for training: what fits, and of that the fastest.
#pragma once

#include <cstdint>

#include "io/weight_source.h"
#include "nn/place.h"
#include "schema/run_config.h"
#include "trainer/load_base.h"
#include "trainer/memory_plan.h"
#include "trainer/plan_budget.h"

namespace nibble::trainer {

struct ForwardShape {
  int64_t rows = 1;           // that go together
  int64_t row_tokens = 0;     // at most, of a row
  int64_t cache_tokens = 0;   // whose keys and values are kept
  bool cut = true;            // whether rows go through a CPU in parts (trainer/token_batch.h); a text's window or a prompt goes at once
};

struct ForwardPlan {
  PlanInput input;            // with the choices made
  MemoryPlan plan;
  Budget budget;

  BaseChoices base() const { return {input.choices.streamed, input.choices.offload_embedding}; }
};

// `lora_r`: of the adapter that will be attached, 0: none. THROWS OutOfMemoryError with the plan where no choice fits what there is.
ForwardPlan plan_forward(const schema::RunConfig& config, const io::WeightSource& source, int64_t lora_r, const ForwardShape& shape,
                         const nn::Place& place);

}  // namespace nibble::trainer
