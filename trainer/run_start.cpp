#include "trainer/run_start.h"

#include <fmt/format.h>

#include "core/file.h"
#include "schema/print.h"
#include "trainer/from_config.h"

namespace nibble::trainer {

namespace {

// The state of a run whose changes were allowed goes on as that of the run that it is now.
void adopt(RunState& state, const RunState& identity, const std::vector<RunChange>& changes) {
  if (changes.empty()) return;
  state.take_hashes(identity);
  if (!state.allowed_changes) state.allowed_changes.emplace();
  state.allowed_changes->insert(state.allowed_changes->end(), changes.begin(), changes.end());
}

// Other data may end before the row that was reached: the run goes on at the next epoch.
void keep_cursor_inside(RunState& state, int64_t rows, const std::function<void(const std::string&)>& say) {
  if (state.cursor_row < rows) return;
  say(fmt::format("the data have {} rows now, and the run stood at row {} of epoch {}: it goes on at the next epoch", rows, state.cursor_row, state.cursor_epoch));
  ++state.cursor_epoch;
  state.cursor_row = 0;
}

}  // namespace

RunStart start_run(const schema::LoadedConfig& loaded, const ResumeChoice& choice, const RunInputs& inputs, RunFolder& folder,
                   const std::function<void(const std::string&)>& say) {
  const schema::RunConfig& config = loaded.config;
  const auto tell = [&](const std::string& text) {
    say(text);
    folder.log(text);
  };
  StagedFolder::remove_partial(folder.path());
  RunStart start{find_resume_point(folder.path(), choice, tell),
                 data::BatchStream(inputs.data.train, config.per_device_train_batch_size, static_cast<uint64_t>(config.seed), config.shuffle, batch_order(config)),
                 inputs.identity};
  if (start.resumed) {
    const std::vector<RunChange> changes = check_same_run(*start.resumed, loaded, inputs.identity, choice.allowed, tell);
    for (const RunChange& change : changes) tell(fmt::format("allowed change: {} is {} now, it was {}", change.what, change.now, change.before));
    start.state = start.resumed->state;
    adopt(start.state, inputs.identity, changes);
    if (!changes.empty()) keep_cursor_inside(start.state, inputs.data.train.rows(), tell);
  }
  start.state.seed = static_cast<uint64_t>(config.seed);
  start.state.max_steps = total_steps(config, start.batches.batches_per_epoch());
  if (start.resumed) {
    start.batches.seek({start.state.cursor_epoch, start.state.cursor_row});
    tell(fmt::format("resuming {} at step {} of {}", start.resumed->checkpoint.string(), start.state.global_step, start.state.max_steps));
  }
  rewind_metrics(folder.metrics_path(), start.state.last_row(), start.state.log_history);
  folder.write_config(schema::effective_yaml(loaded));
  return start;
}

}  // namespace nibble::trainer
