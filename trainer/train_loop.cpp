#include "trainer/train_loop.h"

#include <fmt/format.h>

#include <utility>

namespace nibble::trainer {
namespace {

bool every(int64_t step, int64_t interval) { return interval > 0 && step % interval == 0; }

// Passes over the data that the stream's position amounts to.
double epochs_made(const data::BatchStream& batches) {
  const auto per_epoch = static_cast<double>(batches.batches_per_epoch());
  const auto left = static_cast<double>(batches.batches_left_in_epoch());
  return static_cast<double>(batches.cursor().epoch) + (per_epoch - left) / per_epoch;
}

void add_step(RunState& state, const StepReport& report, const data::BatchStream& batches) {
  ++state.global_step;
  state.micro_step += report.micro_batches;
  state.cursor_epoch = batches.cursor().epoch;
  state.cursor_row = batches.cursor().row;
  state.epoch = epochs_made(batches);
  state.num_input_tokens_seen += report.tokens;
  state.num_trained_tokens_seen += report.trained_tokens;
  state.pending_nll += report.nll;
  state.pending_tokens += report.tokens;
  state.pending_trained_tokens += report.trained_tokens;
  ++state.pending_steps;
}

// The row of the steps since the last one; the sums start again.
MetricsRow take_row(RunState& state, const StepReport& last, double learning_rate, double seconds, int64_t timed_tokens,
                    int64_t timed_steps) {
  MetricsRow row;
  row.step = state.global_step;
  row.epoch = state.epoch;
  row.loss = state.pending_nll / static_cast<double>(state.pending_trained_tokens);
  row.grad_norm = last.grad_norm;
  row.learning_rate = learning_rate;
  row.tokens = state.pending_tokens;
  row.trained_tokens = state.pending_trained_tokens;
  row.tokens_per_s = static_cast<double>(timed_tokens) / seconds;
  row.step_ms = 1e3 * seconds / static_cast<double>(timed_steps);
  row.peak_rss_mib = peak_rss_mib();
  state.pending_nll = 0.0;
  state.pending_tokens = state.pending_trained_tokens = state.pending_steps = 0;
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
  const auto save = [&] {
    if (saved_step == state.global_step) return;
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
    }
    if (hooks.measure) hooks.measure(row);
    state.log(row);
    if (row.eval_loss && (!state.best_metric || *row.eval_loss < *state.best_metric)) state.best_metric = row.eval_loss;
    hooks.log(row);
    hooks.progress->row(row, state.max_steps, timer.seconds_left());
    return true;
  };
  bool stopped = state.unfinished_row && !finish_row(*std::exchange(state.unfinished_row, std::nullopt), /*evaluate=*/true);
  while (!stopped && state.global_step < state.max_steps) {
    const double learning_rate = schedule.learning_rate * optim::schedule_factor(schedule.curve, state.global_step);
    const int64_t epoch = parts.batches.cursor().epoch;
    const std::optional<StepReport> report = train_step(polled, options, state, learning_rate);
    if (!report) break;
    parts.stop.deadline().step_took(report->seconds);
    add_step(state, *report, parts.batches);
    timer.step_done(state.global_step, now());
    if (result.step_tokens_per_s.empty()) result.first_step_done_s = now();
    result.step_tokens_per_s.push_back(static_cast<double>(report->tokens) / report->seconds);
    seconds += report->seconds;
    timed_tokens += report->tokens;
    ++timed_steps;
    if (hooks.step_done) hooks.step_done();

    const bool last = state.global_step == state.max_steps;
    const bool epoch_ended = parts.batches.cursor().epoch != epoch;
    const bool evaluate = every(state.global_step, schedule.eval_steps) || (schedule.eval_at_epoch_end && (epoch_ended || last));
    hooks.progress->step({state.global_step, state.max_steps, report->loss(), result.step_tokens_per_s.back(),
                          hooks.memory_mib ? hooks.memory_mib() : peak_rss_mib(),
                          timer.seconds_left()});
    if (every(state.global_step, schedule.logging_steps) || last || evaluate) {
      const MetricsRow row = take_row(state, *report, learning_rate, seconds, timed_tokens, timed_steps);
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
