// Where a run stands: everything that resuming needs beside the adapter and the optimizer's tensors.
//
// It is saved as trainer_state.json with Hugging Face's names where Hugging Face has one (global_step, max_steps, epoch,
// num_input_tokens_seen, best_metric, best_model_checkpoint, log_history). Random numbers need no state of their own:
// each is a function of (seed, purpose, step, index).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/metrics.h"
#include "trainer/run_change.h"

namespace nibble::trainer {

// Rows of log_history that a checkpoint keeps: enough to repair metrics.jsonl after a power cut.
inline constexpr size_t kHistoryRows = 500;

// Running mean and variance of the steps' losses, nats (trainer/loss_watch.h).
struct LossWatchState {
  int64_t steps = 0;
  double mean = 0.0;
  double variance = 0.0;

  template <class State, class Visitor>
  static void describe(State& state, Visitor& visit) {
    visit("steps", state.steps);
    visit("mean", state.mean);
    visit("variance", state.variance);
  }
};

struct RunState {
  int64_t global_step = 0;             // optimizer steps made
  int64_t max_steps = 0;               // of the whole run
  double epoch = 0.0;
  uint64_t seed = 0;
  int64_t micro_step = 0;              // micro-batches made; names the dropout masks
  int64_t cursor_epoch = 0;            // where the data stream stands
  int64_t cursor_row = 0;              // rows of that epoch already taken
  int64_t num_input_tokens_seen = 0;
  int64_t num_trained_tokens_seen = 0;

  // Sums over the steps since the last row of the metrics.
  double pending_nll = 0.0;            // nats
  int64_t pending_tokens = 0;
  int64_t pending_trained_tokens = 0;
  int64_t pending_steps = 0;

  int64_t pending_skipped_steps = 0;   // of pending_steps

  int64_t skipped_steps = 0;           // of global_step, those without an update (nan_policy, loss_spike_policy)
  std::vector<int64_t> left_out_steps; // rising: bad ones before which the run went back, to be passed over when they come again
  LossWatchState loss_watch;

  std::optional<MetricsRow> unfinished_row;  // a stop cut its evaluation short: to be evaluated and logged first

  std::optional<double> best_metric;   // lowest eval_loss so far
  std::optional<std::string> best_model_checkpoint;  // folder name inside the run folder

  std::optional<std::string> memory_choices;  // what the planner chose (choices_json), for those who resume

  // XXH3-128 of what must not change under a run; empty: not known.
  std::string base_hash;
  std::string data_hash;
  std::string tokenizer_hash;
  std::string config_fingerprint;      // of the keys that must match on resume

  std::optional<std::vector<RunChange>> allowed_changes;  // of these, when the run was resumed

  std::vector<MetricsRow> log_history; // the last kHistoryRows

  void log(const MetricsRow& row);     // adds to log_history
  // The last step whose row metrics.jsonl may have when a run goes on from here: an unfinished one is made again.
  int64_t last_row() const { return unfinished_row ? unfinished_row->step - 1 : global_step; }
  void take_hashes(const RunState& of);  // all four

  template <class State, class Visitor>
  static void describe(State& state, Visitor& visit) {
    visit("global_step", state.global_step);
    visit("max_steps", state.max_steps);
    visit("epoch", state.epoch);
    visit("seed", state.seed);
    visit("micro_step", state.micro_step);
    visit("cursor_epoch", state.cursor_epoch);
    visit("cursor_row", state.cursor_row);
    visit("num_input_tokens_seen", state.num_input_tokens_seen);
    visit("num_trained_tokens_seen", state.num_trained_tokens_seen);
    visit("pending_nll", state.pending_nll);
    visit("pending_tokens", state.pending_tokens);
    visit("pending_trained_tokens", state.pending_trained_tokens);
    visit("pending_steps", state.pending_steps);
    visit("pending_skipped_steps", state.pending_skipped_steps);
    visit("skipped_steps", state.skipped_steps);
    visit("left_out_steps", state.left_out_steps);
    visit("loss_watch", state.loss_watch);
    visit("unfinished_row", state.unfinished_row);
    visit("best_metric", state.best_metric);
    visit("best_model_checkpoint", state.best_model_checkpoint);
    visit("memory_choices", state.memory_choices);
    visit("base_hash", state.base_hash);
    visit("data_hash", state.data_hash);
    visit("tokenizer_hash", state.tokenizer_hash);
    visit("config_fingerprint", state.config_fingerprint);
    visit("allowed_changes", state.allowed_changes);
    visit("log_history", state.log_history);
  }
};

std::string run_state_json(const RunState& state);
// THROWS FormatError with `path` where a field is missing, of another type or impossible.
RunState parse_run_state(const std::string& json, const std::string& path);

}  // namespace nibble::trainer
