#include "trainer/run_schedule.h"

#include <limits>

#include "trainer/from_config.h"
#include "trainer/graph_use.h"

namespace nibble::trainer {

StepOptions step_options(const schema::RunConfig& config, const PlanInput& plan, const nn::Place& place, TrainingModel& on) {
  StepOptions step;
  step.gradient_accumulation_steps = config.gradient_accumulation_steps;
  step.max_grad_norm = config.max_grad_norm;
  step.seed = static_cast<uint64_t>(config.seed);
  step.pass.loss_chunk_tokens = plan.choices.loss_chunk_tokens;
  step.pass.recompute = plan.choices.recompute;
  step.at_a_time = plan.step_passes;
  if (optim::PagedArena* paging = on.paging()) {
    step.pass.backward_reaches = [paging](int64_t layer) { paging->prefetch_ahead(layer); };
  }
  if (place.queue) {  // a GPU wants them all at once
    step.pass_tokens = std::numeric_limits<int32_t>::max();
    step.pass_multiple = uses_graphs(config, place) ? kGraphPassMultiple : 1;
  }
  return step;
}

LoopSchedule loop_schedule(const schema::RunConfig& config, int64_t max_steps) {
  LoopSchedule schedule;
  schedule.logging_steps = config.logging_steps;
  schedule.eval_steps = config.eval_strategy == EvalStrategy::kSteps ? config.eval_steps : 0;
  schedule.eval_at_epoch_end = config.eval_strategy == EvalStrategy::kEpoch;
  schedule.save_steps = config.save_steps;
  schedule.learning_rate = config.learning_rate;
  schedule.curve = schedule_config(config, max_steps);
  schedule.bad_steps = {config.nan_policy, config.loss_spike_policy, config.loss_spike_threshold, config.max_skipped_steps};
  return schedule;
}

}  // namespace nibble::trainer
