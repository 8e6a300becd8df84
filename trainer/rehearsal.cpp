#include "trainer/rehearsal.h"

#include <fmt/format.h>

#include <sstream>

#include "trainer/worst_step.h"

namespace nibble::trainer {

bool rehearses(const schema::RunConfig& config, const RunMemory& memory, const nn::Place& place) {
  switch (config.worst_step_first) {
    case AutoSwitch::kTrue: return true;
    case AutoSwitch::kFalse: return false;
    case AutoSwitch::kAuto: return place.queue || memory.planned_bytes() > memory.limit().bytes / 2;
  }
  return true;
}

void rehearse(const schema::RunConfig& config, const RunInputs& inputs, const StepOptions& step, TrainingModel& training,
              RunMemory& memory, RunFolder& folder, const StopRequest& stop,
              const std::function<void(const std::string&)>& say) {
  const MemoryStage stage(&memory.account(), "making the worst step first");
  const WorstShape train = worst_shape(inputs.data.train, config.per_device_train_batch_size, step.pass_tokens, step.pass_multiple, step.at_a_time);
  WorstShape evaluation;
  if (config.eval_strategy != EvalStrategy::kNo) {
    evaluation = worst_shape(inputs.data.validation, config.per_device_eval_batch_size, step.pass_tokens, step.pass_multiple);
  }
  make_worst_step(training.model, training.passes, training.optimizer, step.pass, train, evaluation,
                  [&] { stop.check("making the worst step first: nothing was trained"); });
  training.report_memory();
  memory.look();
  constexpr double kMib = 1024.0 * 1024.0;
  const auto planned = static_cast<double>(memory.planned_bytes()), measured = static_cast<double>(memory.measured_bytes());
  const std::string text = fmt::format("worst step first: passes of up to {} tokens; planned {:.0f} MiB, measured {:.0f} MiB ({:+.1f} %)\n{}",
                                       train.tokens, planned / kMib, measured / kMib, 100.0 * (measured - planned) / planned, memory.table());
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    say(line);
    folder.log(line);
  }
}

}  // namespace nibble::trainer
