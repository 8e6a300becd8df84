#include "trainer/run_start.h"

#include <fmt/format.h>

#include "core/file.h"
#include "schema/print.h"
#include "trainer/from_config.h"

namespace nibble::trainer {

RunStart start_run(const schema::LoadedConfig& loaded, const ResumeChoice& choice, const RunInputs& inputs, RunFolder& folder,
                   const std::function<void(const std::string&)>& say) {
  const schema::RunConfig& config = loaded.config;
  StagedFolder::remove_partial(folder.path());
  RunStart start{find_resume_point(folder.path(), choice, say),
                 data::BatchStream(inputs.data.train, config.per_device_train_batch_size, static_cast<uint64_t>(config.seed), config.shuffle, batch_order(config)),
                 inputs.identity};
  if (start.resumed) {
    check_same_run(*start.resumed, loaded, inputs.identity, say);
    start.state = start.resumed->state;
  }
  start.state.seed = static_cast<uint64_t>(config.seed);
  start.state.max_steps = total_steps(config, start.batches.batches_per_epoch());
  if (start.resumed) {
    start.batches.seek({start.state.cursor_epoch, start.state.cursor_row});
    say(fmt::format("resuming {} at step {} of {}", start.resumed->checkpoint.string(), start.state.global_step, start.state.max_steps));
  }
  rewind_metrics(folder.metrics_path(), start.state.global_step, start.state.log_history);
  folder.write_config(schema::effective_yaml(loaded));
  return start;
}

}  // namespace nibble::trainer
