// One optimizer step: the gradients of its micro-batches, clipping, the update.
//
// Gradients are sums over tokens, divided once by the step's trained tokens: how a step is cut into micro-batches does
// not matter.
#pragma once

#include <functional>
#include <optional>

#include "data/sampler.h"
#include "nn/model.h"
#include "optim/optimizer.h"
#include "trainer/pass_team.h"
#include "trainer/run_state.h"
#include "trainer/stop_request.h"
#include "trainer/token_batch.h"

namespace nibble::trainer {

struct StepReport {
  double nll = 0.0;             // sum over the trained tokens, nats
  double grad_norm = 0.0;       // before clipping
  int64_t tokens = 0;           // all tokens of the step; there is no padding
  int64_t trained_tokens = 0;
  int64_t micro_batches = 0;
  double seconds = 0.0;

  double loss() const { return nll / static_cast<double>(trained_tokens); }
};

struct StepOptions {
  int64_t gradient_accumulation_steps = 1;
  double max_grad_norm = 0.0;   // 0: no clipping
  int64_t pass_tokens = kCpuPassTokens, pass_multiple = kCpuPassMultiple, at_a_time = 1;  // see passes_of
  uint64_t seed = 0;
  nn::PassOptions pass;
};

// What a step works on; all of it outlives the trainer's loop.
struct StepParts {
  nn::Model& model;
  PassTeam& passes;
  optim::Optimizer& optimizer;
  data::BatchStream& batches;
  const StopRequest& stop;
  std::function<void()> each = {};  // called before every pass, where nothing of the step's is in model or optimizer but gradients; may be empty
};

// Optimizer steps of one pass over the data: the last step of an epoch takes the micro-batches that are left.
int64_t steps_per_epoch(int64_t batches_per_epoch, int64_t gradient_accumulation_steps);

// Makes the step that follows `state` with this learning rate; the state itself is the caller's to move on. nullopt:
// a stop was requested; the data position is back at the step's start and neither adapter nor optimizer has changed.
// THROWS RunError where the loss or the gradient is not finite; nothing was updated.
std::optional<StepReport> train_step(const StepParts& parts, const StepOptions& options, const RunState& state,
                                     double learning_rate);

}  // namespace nibble::trainer
