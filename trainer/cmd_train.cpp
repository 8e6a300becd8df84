// nibble train CONFIG: the whole run, top to bottom.
#include <CLI/CLI.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <iostream>

#include "core/error.h"
#include "io/checkpoint.h"
#include "schema/print.h"
#include "trainer/checkpoint_writer.h"
#include "trainer/checkpoint_space.h"
#include "trainer/command.h"
#include "trainer/kill_point.h"
#include "trainer/placement.h"
#include "trainer/plan_report.h"
#include "trainer/process_clock.h"
#include "trainer/rehearsal.h"
#include "trainer/replay.h"
#include "trainer/run_hooks.h"
#include "trainer/run_result.h"
#include "trainer/run_schedule.h"
#include "trainer/run_start.h"
#include "trainer/train_run.h"

namespace nibble::trainer {

namespace {

int run(const schema::LoadedConfig& loaded, const TrainOptions& options, RunMemory& memory) {
  const schema::RunConfig& config = loaded.config;
  const StopRequest stop({.max_time_s = static_cast<double>(config.max_time.seconds), .outlives_pipes = true});
  Progress progress(std::cerr, terminal_columns(STDERR_FILENO));
  const auto say = [&](const std::string& text) { progress.message(text); };
  for (const std::string& note : loaded.notes) say(note);
  nn::Place place = choose_place(config, say);
  place.account = &memory.account();
  memory.watch(place.queue);

  // What the run reads, and whether it fits.
  RunInputs inputs = open_run_inputs(config, place, {say, [&] { stop.check("preparing the data: nothing was trained yet"); }});
  for (const std::string& line : describe_data(inputs.data)) say(line);
  const MemoryPlan plan = plan_memory(inputs.plan);
  if (options.dry_run) {
    std::cout << (options.json ? plan_json(plan, inputs.plan, inputs.budget.most_bytes) + "\n" : plan_text(plan, inputs.plan, inputs.budget.most_bytes));
    return 0;
  }
  if (plan.total_bytes() > inputs.budget.most_bytes) throw OutOfMemoryError(refusal_text(inputs.plan, inputs.budget));
  for (const std::string& line : describe_plan(inputs)) say(line);
  memory.set_plan(plan);

  // Where it writes, and what it continues.
  RunFolder folder(config.output_dir);
  RunStart start = start_run(loaded, options.resume, inputs, folder, say);
  RunState& state = start.state;
  settle_choices(inputs, config, state, say);

  // The model: frozen base, adapter, optimizer.
  const double load_start = seconds_since_process_start();
  TrainingModel training(inputs, config, start.resumed, place, folder.path(), stop, say);
  memory.assign(training.model);
  if (const optim::PagedArena* paging = training.paging()) say(paging->text());
  if (const auto warning = foresee_checkpoints(config, folder.path(), state, checkpoint_bytes(training.model, training.optimizer))) say(*warning);
  const double ready_s = seconds_since_process_start(), load_s = ready_s - load_start;

  // Where rows and checkpoints go.
  MetricsLog metrics(folder.metrics_path());
  CheckpointWriter checkpoints({folder, metrics, training.model, training.adapter, training.optimizer, &memory.account()},
                               {schema::effective_yaml(loaded), config.save_total_limit, inputs.plan.choices.background_save}, say);

  // The worst step first, then the loop.
  const StepOptions step = step_options(config, inputs.plan, place, training);
  if (rehearses(config, memory, place)) rehearse(config, inputs, step, training, memory, folder, stop, say);
  stop.deadline().expect_save(training.optimizer.state_bytes());
  const MemoryStage stage(&memory.account(), "training");
  LoopHooks hooks = run_hooks({loaded, inputs, folder, metrics, training, start.batches, step, checkpoints, memory, progress, stop, state.max_steps});
  if (options.kill_after_checkpoint > 0) add_kill_point(hooks, state, folder.path(), options.kill_after_checkpoint);
  const LoopResult loop = train_loop({training.model, training.passes, training.optimizer, start.batches, stop},
                                     step, loop_schedule(config, state.max_steps), hooks, seconds_since_process_start, state);

  const RunResult result{folder.path().string(), state, loop, memory, checkpoints.longest(), load_s, ready_s, peak_rss_mib(), stop};
  std::cout << (options.json ? result_json(result) : result_text(result)) << "\n";
  if (!loop.interrupted) return static_cast<int>(ExitCode::kOk);
  for (const std::string& line : describe_stop(result)) say(line);
  return static_cast<int>(ExitCode::kInterrupted);
}

}  // namespace

int train_run(const schema::LoadedConfig& loaded, const TrainOptions& options) {
  return with_run_memory([&](RunMemory& memory) { return run(loaded, options, memory); });
}

Command make_train_command() {
  return {"train", "Train as a configuration says", [](CLI::App& app, const CommonOptions& common) -> std::function<int()> {
            struct Options {
              std::string config, replay;
              std::vector<std::string> allow_changed;
              bool resume = false, dry_run = false;
              int64_t kill_after_checkpoint = 0;
            };
            const auto o = std::make_shared<Options>();
            const auto config = app.add_option("CONFIG", o->config, "YAML file; `nibble config docs` lists its keys");
            const auto replay = app.add_option("--replay", o->replay, "Make the step recorded in this folder (output_dir/blackbox-N) again, and show where it goes "
                                                                      "wrong; nothing is written, exit code 0 where it comes out the same bit for bit, 1 where not");
            replay->excludes(config);
            app.add_flag("--resume", o->resume, "Continue the newest good checkpoint of output_dir, if there is one");
            add_allow_changed(app, o->allow_changed);
            app.add_flag("--dry-run", o->dry_run, "Read the data, print the memory plan and stop");
            app.add_option("--kill-after-checkpoint", o->kill_after_checkpoint, "Of verify-resume's own runs")->group("");
            return [o, &common] {
              if (!o->replay.empty()) return replay_step(o->replay, common);
              if (o->config.empty()) throw ConfigError("CONFIG is missing: a YAML file with the keys that `nibble config docs` lists, or --replay with a recorded step");
              const schema::LoadedConfig loaded = schema::load_run_config(o->config, common.set, schema::Needs::kTraining);
              const bool resume = o->resume || loaded.config.resume_from_checkpoint;
              if (!resume && !o->allow_changed.empty()) throw ConfigError("--allow-changed is of a run that is continued: add --resume");
              return train_run(loaded, {{resume, "", AllowedChanges(o->allow_changed)}, o->dry_run, common.json, o->kill_after_checkpoint});
            };
          }};
}

}  // namespace nibble::trainer
