#include "trainer/run_hooks.h"

#include <fmt/format.h>

#include "core/error.h"
#include "trainer/evaluate.h"
#include "trainer/graph_use.h"
#include "trainer/record_step.h"
#include "trainer/rewind.h"

namespace nibble::trainer {
namespace {

// nullopt: a stop was requested on the way.
std::optional<double> evaluate(const HookParts& parts, const std::function<void()>& each) {
  const MemoryStage stage(&parts.memory.account(), "evaluating");
  const auto check = [&] {
    parts.stop.check("evaluating");
    each();
  };
  try {
    return score_rows(parts.training.pass, parts.inputs.data.validation, parts.loaded.config.per_device_eval_batch_size,
                      parts.inputs.plan.choices.loss_chunk_tokens, check).loss();
  } catch (const Interrupted&) {
    return std::nullopt;
  }
}

void measure_paging(const optim::PagedArena& paging, MetricsRow& row) {
  const optim::PagingCounters counters = paging.counters();
  row.paged_resident_bytes = counters.resident_bytes;
  row.paged_prefetched_bytes = counters.prefetched_bytes;
  row.paged_evicted_bytes = counters.evicted_bytes;
}

BadStepHooks bad_step_hooks(const HookParts& parts, const std::function<void()>& wait_saved) {
  const auto say = [parts](const std::string& text) {
    parts.progress.message(text);
    parts.folder.log(text);
  };
  BadStepHooks hooks;
  hooks.say = say;
  hooks.record = [parts, say](const BadStep& bad) -> std::optional<std::filesystem::path> {
    const MemoryStage stage(&parts.memory.account(), "recording a step that went wrong");
    try {
      return record_step({parts.loaded, parts.inputs, parts.training, parts.batches, parts.step, parts.stop}, parts.folder.path(), bad);
    } catch (const std::exception& error) {
      say(fmt::format("warning: step {} could not be recorded, the run goes on without: {}", bad.before.global_step + 1, error.what()));
      return std::nullopt;
    }
  };
  hooks.records = [parts] { return list_black_boxes(parts.folder.path()); };
  hooks.find = [parts, say, wait_saved](const RunState& now) {
    if (wait_saved) wait_saved();
    return find_rewind_point(parts.folder.path(), now, say);
  };
  hooks.go_back = [parts](const RunState& now, const ResumePoint& point) {
    const MemoryStage stage(&parts.memory.account(), "going back to a checkpoint");
    return rewind_run({parts.training.optimizer, parts.batches, parts.metrics}, now, point);
  };
  return hooks;
}

}  // namespace

LoopHooks run_hooks(const HookParts& parts) {
  LoopHooks hooks;
  hooks.progress = &parts.progress;
  hooks.evaluate = [parts](const std::function<void()>& each) { return evaluate(parts, each); };
  hooks.memory_mib = [parts] { return static_cast<double>(parts.memory.measured_bytes()) / (1024.0 * 1024.0); };
  hooks.measure = [parts](MetricsRow& row) {
    if (const optim::PagedArena* paging = parts.training.paging()) measure_paging(*paging, row);
    measure_graphs(parts.training.pass, row);
    row.memory = parts.memory.in_use_mib();
    if (const double blocked_s = parts.checkpoints.take_blocked_s(); blocked_s > 0) row.save_blocked_ms = 1e3 * blocked_s;
    row.peak_gpu_mib = static_cast<double>(parts.memory.device_bytes()) / (1024.0 * 1024.0);
  };
  hooks.step_done = [parts, graphs = GraphWarning()]() mutable {
    parts.checkpoints.check();
    parts.training.report_memory();
    parts.memory.look();
    for (const std::optional<std::string>& warning : {parts.memory.near_limit(), graphs.look(parts.training.pass)}) {
      if (!warning) continue;
      parts.progress.message(*warning);
      parts.folder.log(*warning);
    }
  };
  hooks.log = [parts](const MetricsRow& row) {
    parts.folder.expect_there();
    parts.metrics.write(row);
    parts.folder.log(logged_line(row, parts.max_steps, std::nullopt));
  };
  hooks.save = [parts](const RunState& now) {
    parts.checkpoints.save(now);
    parts.stop.deadline().save_took(parts.checkpoints.longest().total_s);  // of those that are done
  };
  hooks.wait_saved = [parts] { parts.checkpoints.wait(); };
  hooks.bad_steps = bad_step_hooks(parts, hooks.wait_saved);
  return hooks;
}

}  // namespace nibble::trainer
