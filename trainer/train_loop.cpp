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

// The row of the steps since the last one; the sums start again.
MetricsRow take_row(RunState& state, double grad_norm, double learning_rate, double seconds, int64_t timed_tokens,
                    int64_t timed_steps) {
  MetricsRow row;
  row.step = state.global_step;
  row.epoch = state.epoch;
  row.loss = state.pending_nll / static_cast<double>(state.pending_trained_tokens);
  row.grad_norm = grad_norm;
  row.learning_rate = learning_rate;
  row.tokens = state.pending_tokens;
  row.trained_tokens = state.pending_trained_tokens;
  row.tokens_per_s = static_cast<double>(timed_tokens) / seconds;
  row.step_ms = 1e3 * seconds / static_cast<double>(timed_steps);
  row.peak_rss_mib = peak_rss_mib();
  if (state.pending_skipped_steps > 0) row.skipped_steps = state.pending_skipped_steps;
  state.pending_nll = 0.0;
  state.pending_tokens = state.pending_trained_tokens = state.pending_steps = state.pending_skipped_steps = 0;
  return row;
}

}  // namespace

LoopResult train_loop(const StepParts& parts, const StepOptions& options, const LoopSchedule& schedule, const LoopHooks& hooks,
                      const std::function<double()>& now, RunState& state) {
  LoopResult result;
  StepTimer timer(state.max_steps);
  int64_t saved_step = -1;
  // Of the steps since the last row that this process made: a resumed run's first row may cover older ones too.
  double seconds = 0.0;
  int64_t timed_tokens = 0, timed_steps = 0;
  BadSteps bad_steps(schedule.bad_steps, hooks.bad_steps, parts);
  const auto save = [&] {
    if (saved_step == state.global_step) return;
    if (const auto broken = broken_parameter(parts)) {
      throw RunError(fmt::format("step {} has left the adapter with values that are not finite ({}): nothing was saved, earlier checkpoints are "
                                 "as they were. Lower learning_rate, and continue one with `nibble resume --from`", state.global_step, *broken));
    }
    hooks.save(state);
    saved_step = state.global_step;
  };
  const auto save_where_asked = [&] {
    if (parts.stop.take_save_request()) save();
  };
  StepParts polled = parts;
  polled.each = save_where_asked;
  // Evaluates where the row is due for it, and logs it. false: a stop cut the evaluation short.
  const auto finish_row = [&](MetricsRow row, bool evaluate) {
    if (evaluate) {
      state.unfinished_row = row;  // a checkpoint that is made now goes on with it
      row.eval_loss = hooks.evaluate(save_where_asked);
      if (!row.eval_loss) return false;
      if (saved_step == state.global_step) saved_step = -1;  // it has the row unfinished
      state.unfinished_row.reset();
      result.last_eval_loss = row.eval_loss;
      if (!std::isfinite(*row.eval_loss) && hooks.bad_steps.say) {
        hooks.bad_steps.say(fmt::format("warning: step {}: the evaluation's loss is {}, not finite", row.step, std::fabs(*row.eval_loss)));
      }
    }
    if (hooks.measure) hooks.measure(row);
    state.log(row);
    if (row.eval_loss && std::isfinite(*row.eval_loss) && (!state.best_metric || *row.eval_loss < *state.best_metric)) state.best_metric = row.eval_loss;
    hooks.log(row);
    hooks.progress->row(row, state.max_steps, timer.seconds_left());
    return true;
  };
  const auto finish_unfinished_row = [&] {
    return !state.unfinished_row || finish_row(*std::exchange(state.unfinished_row, std::nullopt), /*evaluate=*/true);
  };
  bool stopped = !finish_unfinished_row();
  while (!stopped && state.global_step < state.max_steps) {
    const double learning_rate = schedule.learning_rate * optim::schedule_factor(schedule.curve, state.global_step);
    const int64_t epoch = parts.batches.cursor().epoch;
    StepReport made;
    if (BadSteps::passes_over(state)) {
      add_skipped_step(state, take_step(parts.batches, options, state.micro_step).micro_batches, parts.batches);
    } else {
      const auto report = train_step(polled, options, state, learning_rate,
                                     [&](const StepReport& r) { return bad_steps.allows(state, r, learning_rate); });
      if (!report) break;
      parts.stop.deadline().step_took(report->seconds);
      if (report->updated()) {
        made = *report;
        add_step(state, made, parts.batches);
        watch_loss(state.loss_watch, made.loss(), schedule.bad_steps.spike_threshold);
        if (result.step_tokens_per_s.empty()) result.first_step_done_s = now();
        result.step_tokens_per_s.push_back(static_cast<double>(made.tokens) / made.seconds);
        seconds += made.seconds;
        timed_tokens += made.tokens;
        ++timed_steps;
      } else {
        const Remedy remedy = bad_steps.settle(state, *report, learning_rate);
        if (remedy == Remedy::kStopped) {
          parts.batches.seek({state.cursor_epoch, state.cursor_row});
          if (bad_steps.may_save()) save();
          if (hooks.wait_saved) hooks.wait_saved();
          throw RunError(bad_steps.error());
        }
        if (remedy == Remedy::kRewound) {
          saved_step = state.global_step;
          seconds = 0.0;
          timed_tokens = timed_steps = 0;
          stopped = !finish_unfinished_row();
          continue;
        }
        add_skipped_step(state, report->micro_batches, parts.batches);
      }
    }
    timer.step_done(state.global_step, now());
    if (hooks.step_done) hooks.step_done();

    const bool last = state.global_step == state.max_steps;
    const bool epoch_ended = parts.batches.cursor().epoch != epoch;
    const bool evaluate = every(state.global_step, schedule.eval_steps) || (schedule.eval_at_epoch_end && (epoch_ended || last));
    const double rate = result.step_tokens_per_s.empty() ? 0.0 : result.step_tokens_per_s.back();
    hooks.progress->step({state.global_step, state.max_steps, made.loss(), rate,
                          hooks.memory_mib ? hooks.memory_mib() : peak_rss_mib(),
                          timer.seconds_left()});
    if (every(state.global_step, schedule.logging_steps) || last || evaluate) {
      const MetricsRow row = take_row(state, made.grad_norm, learning_rate, seconds, timed_tokens, timed_steps);
      seconds = 0.0;
      timed_tokens = timed_steps = 0;
      stopped = !finish_row(row, evaluate);
    }
    if (every(state.global_step, schedule.save_steps) && !last) save();
    save_where_asked();
    stopped = stopped || parts.stop.requested() || !parts.stop.leaves_time_for_step();
  }
  result.interrupted = state.global_step < state.max_steps || state.unfinished_row;
  save();
  if (hooks.wait_saved) hooks.wait_saved();
  return result;
}

}  // namespace nibble::trainer
