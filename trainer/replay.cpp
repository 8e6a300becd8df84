#include "trainer/replay.h"

#include <fmt/format.h>

#include <cmath>
#include <iostream>

#include "core/error.h"
#include "io/checkpoint.h"
#include "trainer/accounting.h"
#include "trainer/from_config.h"
#include "trainer/loss_watch.h"
#include "trainer/placement.h"
#include "trainer/record_step.h"
#include "trainer/run_schedule.h"

namespace nibble::trainer {
namespace {

namespace fs = std::filesystem;

void say(const std::string& text) { std::cerr << text << "\n"; }

ResumePoint state_of(const fs::path& folder, const BlackBox& box) {
  const fs::path checkpoint = folder / io::checkpoint_name(box.step - 1);
  const io::CheckpointInfo info = io::check_checkpoint(checkpoint, io::CheckDepth::kChecksums);
  if (info.state != io::CheckpointState::kGood) {
    throw FormatError(fmt::format("the state before the step is {}: {}", io::checkpoint_state_name(info.state), info.reason), checkpoint.string());
  }
  ResumePoint point = read_resume_point(checkpoint);
  const RunState& state = point.state;
  if (state.global_step != box.step - 1 || state.micro_step != box.micro_step || state.cursor_epoch != box.cursor_epoch || state.cursor_row != box.cursor_row) {
    throw FormatError(fmt::format("its trainer_state.json is not of the step that {} describes", kBlackBoxFile), checkpoint.string());
  }
  return point;
}

// As the loop and the bad step's rules judge it.
StepFault fault_of(const StepReport& report, const StepDiagnosis& diagnosis, LossSpikePolicy policy, double limit) {
  if (!std::isfinite(report.loss())) return StepFault::kLoss;
  const bool spike = policy != LossSpikePolicy::kNone && report.loss() > limit;
  if (spike && policy != LossSpikePolicy::kWarn) return StepFault::kSpike;
  if (!std::isfinite(diagnosis.grad_norm())) return StepFault::kGradient;
  return spike ? StepFault::kSpike : StepFault::kNone;
}

BlackBox make_again(const schema::LoadedConfig& loaded, const ResumePoint& point, double learning_rate, RunMemory& memory) {
  schema::LoadedConfig here = loaded;
  schema::RunConfig& config = here.config;
  config.output_dir = fs::temp_directory_path().string();  // of files without a name
  nn::Place place = choose_place(config, say);
  place.account = &memory.account();
  memory.watch(place.queue);
  const StopRequest stop;
  RunInputs inputs = open_run_inputs(config, place, {say, [&] { stop.check("preparing the data"); }});
  check_same_run(point, loaded, inputs.identity, AllowedChanges(), say);
  memory.set_plan(plan_memory(inputs.plan));
  RunState state = point.state;
  settle_choices(inputs, config, state, say);
  TrainingModel training(inputs, config, point, place, config.output_dir, stop, say);
  memory.assign(training.model);
  const StepOptions options = step_options(config, inputs.plan, place, training);
  data::BatchStream batches(inputs.data.train, config.per_device_train_batch_size, static_cast<uint64_t>(config.seed), config.shuffle, batch_order(config));
  batches.seek({state.cursor_epoch, state.cursor_row});
  const MemoryStage stage(&memory.account(), "making the step again");
  const StepParts parts{training.model, training.passes, training.optimizer, batches, stop};
  const auto no_update = [](const StepReport&) { return false; };
  const auto report = train_step(parts, options, state, learning_rate, no_update);
  if (!report) throw Interrupted(fmt::format("{} while making the step again", stop.name()));
  const StepDiagnosis diagnosis = diagnose_step(parts, options, state);
  const double limit = spike_limit(state.loss_watch, config.loss_spike_threshold);
  const StepFault fault = fault_of(*report, diagnosis, config.loss_spike_policy, limit);
  return describe_step({here, inputs, training, batches, options, stop}, diagnosis, {state, *report, fault, Remedy::kTrained, learning_rate, limit});
}

}  // namespace

int replay_step(const fs::path& folder, const CommonOptions& common) {
  Replay replay{read_black_box(folder), {}};
  const ResumePoint point = state_of(folder, replay.recorded);
  const schema::LoadedConfig loaded = schema::load_run_config(point.checkpoint / io::kCheckpointConfigFile, common.set, schema::Needs::kTraining);
  const int code = with_run_memory([&](RunMemory& memory) {
    replay.now = make_again(loaded, point, replay.recorded.learning_rate, memory);
    return replay.repeats() ? 0 : static_cast<int>(ExitCode::kRunFailed);
  });
  std::cout << (common.json ? replay_json(replay) + "\n" : replay_text(replay));
  return code;
}

}  // namespace nibble::trainer
