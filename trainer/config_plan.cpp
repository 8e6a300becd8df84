#include "trainer/config_plan.h"

#include "trainer/from_config.h"
#include "trainer/plan_budget.h"

namespace nibble::trainer {
namespace {

// The run on this kind of device, without having read its data: every row as long as rows may be.
PlanInput input_for(PlanDevice device, const schema::RunConfig& config, const BaseShape& base) {
  PlanInput input = plan_input(config, base.model, 0);
  input.device = device;
  input.looked_up_bytes = expected_looked_up_bytes(config, base.model.hidden_size * input.element_bytes);
  if (base.stored && config.load_in_4bit) input.quant = *base.stored;
  set_batch(input, config.per_device_train_batch_size, config.max_length, config.max_length);
  if (config.eval_strategy != EvalStrategy::kNo) set_eval_batch(input, config.per_device_eval_batch_size, config.max_length, config.max_length);
  return input;
}

// Of the cards the smallest that trains it, or the largest.
Budget smallest_card(const std::vector<CardVerdict>& cards) {
  for (const CardVerdict& card : cards) {
    if (card.run.fits) return card_budget(static_cast<double>(card.gib));
  }
  return card_budget(static_cast<double>(cards.back().gib));
}

}  // namespace

PlanReport plan_config(const schema::RunConfig& config, double gpu_memory_gib) {
  const int64_t process_bytes = expected_process_bytes(config);  // before measuring the CPU brings more into memory
  const BaseShape base = read_base_shape(config.model_name_or_path);
  PlanReport report;
  const PlanInput on_gpu = input_for(PlanDevice::kCuda, config, base);
  report.cards = card_verdicts(on_gpu);
  PlanInput input = on_gpu;
  Budget budget;
  if (config.device == DeviceChoice::kCuda || gpu_memory_gib > 0) {
    if (gpu_memory_gib > 0) {
      budget = card_budget(gpu_memory_gib);
    } else {
      budget = config.max_memory.bytes > 0 ? Budget{config.max_memory.bytes, "max_memory", config.max_memory.bytes} : smallest_card(report.cards);
    }
    report.speed = typical_gpu(budget.bytes);
  } else {
    input = input_for(PlanDevice::kCpu, config, base);
    budget = cpu_budget(config, /*base_is_open=*/false);
    report.speed = measured_cpu(input.element_bytes);
  }
  input.process_bytes = process_bytes;
  const PlannedRun run = search_plan(input, budget.bytes, *report.speed);
  report.input = run.input;
  report.plan = plan_memory(run.input);
  report.budget_bytes = budget.bytes;
  report.budget_of = budget.of;
  if (run.fits) {
    report.more = more_memory(run, budget.bytes, *report.speed);
  } else {
    report.changes = changes_that_fit(input, budget.bytes, *report.speed);
  }
  return report;
}

}  // namespace nibble::trainer
