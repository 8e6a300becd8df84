#include "trainer/rewind.h"

#include <fmt/format.h>

#include "io/checkpoint.h"
#include "io/optimizer_state.h"

namespace nibble::trainer {

std::optional<ResumePoint> find_rewind_point(const std::filesystem::path& run_folder, const RunState& now,
                                             const std::function<void(const std::string&)>& say) {
  const io::NewestCheckpoint newest = io::newest_good_checkpoint(run_folder, now.global_step);
  for (const io::CheckpointInfo& passed : newest.skipped) {
    say(fmt::format("{}: not gone back to, it is {}: {}", passed.path.string(), io::checkpoint_state_name(passed.state), passed.reason));
  }
  if (!newest.found) return std::nullopt;
  return read_resume_point(newest.found->path);
}

RunState rewind_run(const RewindParts& parts, const RunState& now, const ResumePoint& point) {
  io::load_optimizer(parts.optimizer, point.checkpoint / io::kOptimizerFile);
  RunState back = point.state;
  back.seed = now.seed;
  back.max_steps = now.max_steps;
  back.memory_choices = now.memory_choices;
  back.take_hashes(now);
  back.allowed_changes = now.allowed_changes;
  parts.batches.seek({back.cursor_epoch, back.cursor_row});
  parts.metrics.rewind(back.last_row(), back.log_history);
  return back;
}

}  // namespace nibble::trainer
