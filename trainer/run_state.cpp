#include "trainer/run_state.h"

#include <array>

#include "core/error.h"
#include "io/checkpoint.h"
#include "schema/json_text.h"
#include "trainer/json_fields.h"

namespace nibble::trainer {
namespace {

// Fields that checkpoints of earlier versions do not have; then they are as in a new state.
constexpr std::array<const char*, 4> kAddedLater{"pending_skipped_steps", "skipped_steps", "left_out_steps", "loss_watch"};

void add_later_fields(OrderedJson& state) {
  if (!state.is_object()) return;
  const OrderedJson fresh = to_json_object(RunState{});
  for (const char* name : kAddedLater) {
    if (!state.contains(name)) state[name] = fresh.at(name);
  }
}

}  // namespace

void RunState::log(const MetricsRow& row) {
  log_history.push_back(row);
  if (log_history.size() > kHistoryRows) log_history.erase(log_history.begin());
}

void RunState::take_hashes(const RunState& of) {
  base_hash = of.base_hash;
  data_hash = of.data_hash;
  tokenizer_hash = of.tokenizer_hash;
  config_fingerprint = of.config_fingerprint;
}

std::string run_state_json(const RunState& state) { return to_json_object(state).dump(2) + "\n"; }

RunState parse_run_state(const std::string& json, const std::string& path) {
  OrderedJson parsed = schema::parse_ordered_json(json, path);
  add_later_fields(parsed);
  RunState state = from_json_object<RunState>(parsed, path);
  int64_t last = 0;
  for (const MetricsRow& row : state.log_history) {
    if (row.step <= last || row.step > state.global_step) {
      throw FormatError(fmt::format("log_history has step {} after step {} in a run of {} steps", row.step, last,
                                    state.global_step),
                        path);
    }
    last = row.step;
  }
  // It will be joined to the run folder's path: nothing but a checkpoint's name may stand here.
  if (state.best_model_checkpoint && !io::checkpoint_step(*state.best_model_checkpoint)) {
    throw FormatError(fmt::format("best_model_checkpoint is '{}', expected checkpoint-<step>", *state.best_model_checkpoint),
                      path);
  }
  return state;
}

}  // namespace nibble::trainer
