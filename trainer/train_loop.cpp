#include "trainer/train_loop.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>

#include "core/error.h"
#include "trainer/loss_watch.h"

namespace nibble::trainer {
namespace {

bool every(int64_t step, int64_t interval) { return interval > 0 && step % interval == 0; }

// Passes over the data that the stream's position amounts to.
double epochs_made(const data::BatchStream& batches) {
  const auto per_epoch = static_cast<double>(batches.batches_per_epoch());
  const auto left = static_cast<double>(batches.batches_left_in_epoch());
  return static_cast<double>(batches.cursor().epoch) + (per_epoch - left) / per_epoch;
}

// What every step of a run moves on, made or left out.
void count_step(RunState& state, int64_t micro_batches, const data::BatchStream& batches) {
  ++state.global_step;
  state.micro_step += micro_batches;
  state.cursor_epoch = batches.cursor().epoch;
  state.cursor_row = batches.cursor().row;
  state.epoch = epochs_made(batches);
  ++state.pending_steps;
}

void add_skipped_step(RunState& state, int64_t micro_batches, const data::BatchStream& batches) {
  count_step(state, micro_batches, batches);
  ++state.skipped_steps;
  ++state.pending_skipped_steps;
}

void add_step(RunState& state, const StepReport& report, const data::BatchStream& batches) {
  count_step(state, report.micro_batches, batches);
  state.num_input_tokens_seen += report.tokens;
  state.num_trained_tokens_seen += report.trained_tokens;
  state.pending_nll += report.nll;
  state.pending_tokens += report.tokens;
  state.pending_trained_tokens += report.trained_tokens;
}

// The steps since the last row that this process made: a resumed run's first row may cover older ones too.
struct Timed {
  double seconds = 0.0;
  int64_t tokens = 0, steps = 0;
};

// The row of the steps since the last one; the sums start again.
MetricsRow take_row(RunState& state, double grad_norm, double learning_rate, const Timed& timed) {
  MetricsRow row;
  row.step = state.global_step;
  row.epoch = state.epoch;
  row.loss = state.pending_nll / static_cast<double>(state.pending_trained_tokens);
  row.grad_norm = grad_norm;
  row.learning_rate = learning_rate;
  row.tokens = state.pending_tokens;
  row.trained_tokens = state.pending_trained_tokens;
  row.tokens_per_s = static_cast<double>(timed.tokens) / timed.seconds;
  row.step_ms = 1e3 * timed.seconds / static_cast<double>(timed.steps);
  row.peak_rss_mib = peak_rss_mib();
  if (state.pending_skipped_steps > 0) row.skipped_steps = state.pending_skipped_steps;
  state.pending_nll = 0.0;
  state.pending_tokens = state.pending_trained_tokens = state.pending_steps = state.pending_skipped_steps = 0;
  return row;
}

class Loop {
 public:
  Loop(const StepParts& parts, const StepOptions& options, const LoopSchedule& schedule, const LoopHooks& hooks,
       const std::function<double()>& now, RunState& state)
      : parts_(parts), options_(options), schedule_(schedule), hooks_(hooks), now_(now), state_(state), polled_(parts),
        timer_(state.max_steps), bad_steps_(schedule.bad_steps, hooks.bad_steps, parts) {
    polled_.each = [this] { save_where_asked(); };
  }

  LoopResult run();

 private:
  enum class StepEnd : uint8_t { kCounted, kCutShort, kRewound };

  // One step of the run, made or left out; adds it to the state.
  StepEnd step(double learning_rate, StepReport& made);
  StepEnd settle(const StepReport& report, double learning_rate);
  void after_step(const StepReport& made, double learning_rate, bool epoch_ended);
  // Evaluates where the row is due for it, and logs it. false: a stop cut the evaluation short.
  bool finish_row(MetricsRow row, bool evaluate);
  bool finish_unfinished_row() {
    return !state_.unfinished_row || finish_row(*std::exchange(state_.unfinished_row, std::nullopt), /*evaluate=*/true);
  }
  void save();
  void save_where_asked() {
    if (parts_.stop.take_save_request()) save();
  }

  const StepParts& parts_;
  const StepOptions& options_;
  const LoopSchedule& schedule_;
  const LoopHooks& hooks_;
  const std::function<double()>& now_;
  RunState& state_;
  StepParts polled_;  // parts_, with requests to save answered on the way
  StepTimer timer_;
  BadSteps bad_steps_;
  LoopResult result_;
  Timed timed_;
  int64_t saved_step_ = -1;
  bool stopped_ = false;
};

void Loop::save() {
  if (saved_step_ == state_.global_step) return;
  if (const auto broken = broken_parameter(parts_)) {
    throw RunError(fmt::format("step {} has left the adapter with values that are not finite ({}): nothing was saved, earlier checkpoints are "
                               "as they were. Lower learning_rate, and continue one with `nibble resume --from`", state_.global_step, *broken));
  }
  hooks_.save(state_);
  saved_step_ = state_.global_step;
}

bool Loop::finish_row(MetricsRow row, bool evaluate) {
  if (evaluate) {
    state_.unfinished_row = row;  // a checkpoint that is made now goes on with it
    row.eval_loss = hooks_.evaluate([this] { save_where_asked(); });
    if (!row.eval_loss) return false;
    if (saved_step_ == state_.global_step) saved_step_ = -1;  // it has the row unfinished
    state_.unfinished_row.reset();
    result_.last_eval_loss = row.eval_loss;
    if (!std::isfinite(*row.eval_loss) && hooks_.bad_steps.say) {
      hooks_.bad_steps.say(fmt::format("warning: step {}: the evaluation's loss is {}, not finite", row.step, std::fabs(*row.eval_loss)));
    }
  }
  if (hooks_.measure) hooks_.measure(row);
  state_.log(row);
  if (row.eval_loss && std::isfinite(*row.eval_loss) && (!state_.best_metric || *row.eval_loss < *state_.best_metric)) state_.best_metric = row.eval_loss;
  hooks_.log(row);
  hooks_.progress->row(row, state_.max_steps, timer_.seconds_left());
  return true;
}

Loop::StepEnd Loop::step(double learning_rate, StepReport& made) {
  if (BadSteps::passes_over(state_)) {
    add_skipped_step(state_, take_step(parts_.batches, options_, state_.micro_step).micro_batches, parts_.batches);
    return StepEnd::kCounted;
  }
  const auto report = train_step(polled_, options_, state_, learning_rate,
                                 [&](const StepReport& r) { return bad_steps_.allows(state_, r, learning_rate); });
  if (!report) return StepEnd::kCutShort;
  parts_.stop.deadline().step_took(report->seconds);
  if (!report->updated()) return settle(*report, learning_rate);
  made = *report;
  add_step(state_, made, parts_.batches);
  watch_loss(state_.loss_watch, made.loss(), schedule_.bad_steps.spike_threshold);
  if (result_.step_tokens_per_s.empty()) result_.first_step_done_s = now_();
  result_.step_tokens_per_s.push_back(static_cast<double>(made.tokens) / made.seconds);
  timed_.seconds += made.seconds;
  timed_.tokens += made.tokens;
  ++timed_.steps;
  return StepEnd::kCounted;
}

Loop::StepEnd Loop::settle(const StepReport& report, double learning_rate) {
  const Remedy remedy = bad_steps_.settle(state_, report, learning_rate);
  if (remedy == Remedy::kStopped) {
    parts_.batches.seek({state_.cursor_epoch, state_.cursor_row});
    if (bad_steps_.may_save()) save();
    if (hooks_.wait_saved) hooks_.wait_saved();
    throw RunError(bad_steps_.error());
  }
  if (remedy == Remedy::kRewound) {
    saved_step_ = state_.global_step;
    timed_ = {};
    stopped_ = !finish_unfinished_row();
    return StepEnd::kRewound;
  }
  add_skipped_step(state_, report.micro_batches, parts_.batches);
  return StepEnd::kCounted;
}

void Loop::after_step(const StepReport& made, double learning_rate, bool epoch_ended) {
  timer_.step_done(state_.global_step, now_());
  if (hooks_.step_done) hooks_.step_done();
  const bool last = state_.global_step == state_.max_steps;
  const bool evaluate = every(state_.global_step, schedule_.eval_steps) || (schedule_.eval_at_epoch_end && (epoch_ended || last));
  const double rate = result_.step_tokens_per_s.empty() ? 0.0 : result_.step_tokens_per_s.back();
  hooks_.progress->step({state_.global_step, state_.max_steps, made.loss(), rate, hooks_.memory_mib ? hooks_.memory_mib() : peak_rss_mib(),
                         timer_.seconds_left()});
  if (every(state_.global_step, schedule_.logging_steps) || last || evaluate) {
    const MetricsRow row = take_row(state_, made.grad_norm, learning_rate, std::exchange(timed_, {}));
    stopped_ = !finish_row(row, evaluate);
  }
  if (every(state_.global_step, schedule_.save_steps) && !last) save();
  save_where_asked();
  stopped_ = stopped_ || parts_.stop.requested() || !parts_.stop.leaves_time_for_step();
}

LoopResult Loop::run() {
  stopped_ = !finish_unfinished_row();
  while (!stopped_ && state_.global_step < state_.max_steps) {
    const double learning_rate = schedule_.learning_rate * optim::schedule_factor(schedule_.curve, state_.global_step);
    const int64_t epoch = parts_.batches.cursor().epoch;
    StepReport made;
    const StepEnd end = step(learning_rate, made);
    if (end == StepEnd::kCutShort) break;
    if (end == StepEnd::kCounted) after_step(made, learning_rate, parts_.batches.cursor().epoch != epoch);
  }
  result_.interrupted = state_.global_step < state_.max_steps || state_.unfinished_row;
  save();
  if (hooks_.wait_saved) hooks_.wait_saved();
  return std::move(result_);
}

}  // namespace

LoopResult train_loop(const StepParts& parts, const StepOptions& options, const LoopSchedule& schedule, const LoopHooks& hooks,
                      const std::function<double()>& now, RunState& state) {
  return Loop(parts, options, schedule, hooks, now, state).run();
}

}  // namespace nibble::trainer
