#include "trainer/forward_plan.h"

#include "core/error.h"
#include "core/memory_limit.h"
#include "trainer/from_config.h"
#include "trainer/plan_report.h"
#include "trainer/plan_search.h"

namespace nibble::trainer {

ForwardPlan plan_forward(const schema::RunConfig& config, const io::WeightSource& source, int64_t lora_r, const ForwardShape& shape,
                         const nn::Place& place) {
  const bool on_device = static_cast<bool>(place.queue);
  PlanInput input = plan_input(config, source.config(), 0);
  input.purpose = PlanFor::kForward;
  input.device = on_device ? PlanDevice::kCuda : PlanDevice::kCpu;
  if (const auto stored = stored_quant(source); stored && config.load_in_4bit) input.quant = *stored;
  input.lora_r = lora_r;
  if (lora_r == 0) input.lora_targets.clear();
  set_eval_batch(input, shape.rows, shape.row_tokens, shape.row_tokens);
  if (!shape.cut) input.eval_tokens = shape.rows * shape.row_tokens;
  input.pass_tokens = input.longest_tokens = input.eval_tokens;
  input.cache_tokens = shape.cache_tokens;
  input.process_bytes = resident_bytes();
  // Nothing is kept for a backward pass, and the loss keeps the chunks that the configuration has: they could round otherwise.
  input.fixed.recompute = Recompute::kNone;
  input.fixed.loss_chunk_tokens = loss_chunk_tokens(config);
  input.fixed.paged_budget_bytes = 0;
  if (!input.fixed.streamed && !can_be_streamed(source, config, on_device)) input.fixed.streamed = false;
  ForwardPlan forward;
  forward.budget = on_device ? gpu_budget(config, place) : cpu_budget(config, /*base_is_open=*/true);
  const HardwareSpeed& speed = on_device ? typical_gpu(forward.budget.bytes) : tabled_cpu();
  PlannedRun run = search_plan(input, forward.budget.bytes, speed);
  if (!run.fits) run = search_plan(input, forward.budget.most_bytes, speed);
  forward.input = run.input;
  forward.plan = plan_memory(run.input);
  if (!run.fits) throw OutOfMemoryError(refusal_text(forward.input, forward.budget));
  return forward;
}

}  // namespace nibble::trainer
