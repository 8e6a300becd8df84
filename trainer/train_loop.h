// The loop over optimizer steps: log, evaluate and save on their schedules, stop when asked.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>

#include "optim/schedule.h"
#include "trainer/bad_step.h"
#include "trainer/progress.h"
#include "trainer/train_step.h"

namespace nibble::trainer {

struct LoopSchedule {
  int64_t logging_steps = 1;
  int64_t eval_steps = 0;       // 0: never while training
  bool eval_at_epoch_end = false;
  int64_t save_steps = 0;       // 0: only at the end
  double learning_rate = 0.0;   // the peak
  optim::ScheduleConfig curve;
  BadStepRules bad_steps;
};

// What the loop asks of its surroundings.
struct LoopHooks {
  // -> mean loss, nats; nullopt: a stop was requested on the way. Calls `each` again and again.
  std::function<std::optional<double>(const std::function<void()>& each)> evaluate;
  std::function<void(const RunState&)> save;         // a checkpoint of this state; may be written while the loop goes on
  std::function<void()> wait_saved;                  // until it is; may be empty
  std::function<void()> step_done;                   // after every step, before its row; may be empty
  std::function<void(MetricsRow&)> measure;          // fills in what the loop does not know; may be empty
  std::function<void(const MetricsRow&)> log;        // one row
  std::function<double()> memory_mib;                // for the live line; empty: the process's peak
  BadStepHooks bad_steps;
  Progress* progress = nullptr;
};

struct LoopResult {
  bool interrupted = false;
  std::optional<double> last_eval_loss;
  std::vector<double> step_tokens_per_s;
  double first_step_done_s = 0.0;   // on the clock of `now`
};

// Runs from state.global_step to state.max_steps and keeps `state` current. A run always ends with a checkpoint. A row whose
// evaluation a stop cut short is in that checkpoint; the run that continues evaluates first of all, and the row is the same. A request
// to save (SIGUSR1) is answered before the next micro-batch: until its update, a step leaves everything as it was before it.
// `now` is a steady clock in seconds since the process started. THROWS RunError where steps go wrong and the rules say to stop, after
// a checkpoint of the state before, and where a step's update has broken the adapter, without one; what the hooks throw.
LoopResult train_loop(const StepParts& parts, const StepOptions& options, const LoopSchedule& schedule, const LoopHooks& hooks,
                      const std::function<double()>& now, RunState& state);

}  // namespace nibble::trainer
