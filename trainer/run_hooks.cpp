#include "trainer/run_hooks.h"

#include <fmt/format.h>

#include "core/error.h"
#include "trainer/evaluate.h"
#include "trainer/graph_use.h"

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
  return hooks;
}

}  // namespace nibble::trainer
