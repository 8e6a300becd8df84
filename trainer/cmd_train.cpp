// nibble train CONFIG: the whole run, top to bottom.
#include <CLI/CLI.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "io/adapter.h"
#include "io/checkpoint.h"
#include "io/load_model.h"
#include "io/optimizer_state.h"
#include "schema/print.h"
#include "trainer/command.h"
#include "trainer/evaluate.h"
#include "trainer/from_config.h"
#include "trainer/placement.h"
#include "trainer/plan_report.h"
#include "trainer/process_clock.h"
#include "trainer/run_folder.h"
#include "trainer/run_inputs.h"
#include "trainer/train_loop.h"
#include "trainer/train_run.h"

namespace nibble::trainer {
namespace {

// Every factor with its gradient, in the order of the adapters.
std::vector<optim::ParamRef> parameters(nn::Model& model) {
  std::vector<optim::ParamRef> params;
  model.each_lora([&](const std::string& path, nn::Lora& lora) {
    const auto layer = static_cast<int64_t>(lora.number) / nn::kProjections;
    params.push_back({path + ".lora_A.weight", lora.a, lora.da, layer});
    params.push_back({path + ".lora_B.weight", lora.b, lora.db, layer});
  });
  return params;
}

nn::Model load_base(const RunInputs& inputs, const schema::RunConfig& config, const nn::Place& place, const StopRequest& stop) {
  io::LoadOptions options;
  options.dtype = compute_dtype(config);
  options.quant = quant_config(config);
  options.device = place.device;
  options.progress = [&](int64_t, int64_t) {
    if (stop.requested()) throw Interrupted(fmt::format("{} while loading the base: nothing was trained yet", stop.name()));
  };
  return io::load_model(*inputs.source, options);
}

// A checkpoint's adapter, one to start from, or a new one. Returns its configuration as it will be saved.
io::AdapterConfig attach(nn::Model& model, const schema::RunConfig& config, const std::optional<ResumePoint>& resumed) {
  const std::string from = resumed ? resumed->checkpoint.string() : config.adapter_name_or_path;
  if (from.empty()) {
    nn::attach_lora(model, lora_config(config), static_cast<uint64_t>(config.seed));
    return io::adapter_config_of(lora_config(config), config.model_name_or_path);
  }
  io::Adapter adapter = io::read_adapter(from, model.config);
  io::attach_adapter(model, adapter, config.lora_dropout);
  adapter.config.dropout = config.lora_dropout;
  adapter.config.base_model_name_or_path = config.model_name_or_path;
  return adapter.config;
}

nlohmann::ordered_json finite_or_null(double value) { return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(); }

// The mean loss of the last ten rows.
double recent_loss(const RunState& state) {
  const size_t n = std::min<size_t>(10, state.log_history.size());
  double sum = 0.0;
  for (size_t i = state.log_history.size() - n; i < state.log_history.size(); ++i) sum += state.log_history[i].loss;
  return sum / static_cast<double>(n);
}

double median(std::vector<double> values) {
  if (values.empty()) return 0.0;
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

}  // namespace

int train_run(const schema::LoadedConfig& loaded, const ResumeChoice& resume, bool dry_run, bool json) {
  const schema::RunConfig& config = loaded.config;
  Progress progress(std::cerr, terminal_columns(STDERR_FILENO));
  const auto say = [&](const std::string& text) { progress.message(text); };
  for (const std::string& note : loaded.notes) say(note);
  const nn::Place place = choose_place(config, say);
  const StopRequest stop;

  // What the run reads, and whether it fits.
  RunInputs inputs = open_run_inputs(config);
  for (const std::string& line : describe_data(inputs)) say(line);
  const MemoryPlan plan = plan_memory(inputs.plan);
  if (dry_run) {
    std::cout << (json ? plan_json(plan, inputs.plan, memory_limit_bytes()) + "\n" : plan_text(plan, inputs.plan, memory_limit_bytes()));
    return 0;
  }
  if (plan.total_bytes() > memory_limit_bytes()) throw OutOfMemoryError(plan_text(plan, inputs.plan, memory_limit_bytes()));

  // Where it writes, and what it continues.
  RunFolder folder(config.output_dir);
  StagedFolder::remove_partial(folder.path());
  const std::optional<ResumePoint> resumed = find_resume_point(folder.path(), resume, say);
  if (resumed) check_same_run(*resumed, loaded, inputs.identity, say);
  data::BatchStream batches(inputs.train, config.per_device_train_batch_size, static_cast<uint64_t>(config.seed), config.shuffle);
  RunState state = resumed ? resumed->state : inputs.identity;
  state.seed = static_cast<uint64_t>(config.seed);
  state.max_steps = total_steps(config, batches.batches_per_epoch());
  if (resumed) {
    batches.seek({state.cursor_epoch, state.cursor_row});
    say(fmt::format("resuming {} at step {} of {}", resumed->checkpoint.string(), state.global_step, state.max_steps));
  }
  rewind_metrics(folder.metrics_path(), state.global_step, state.log_history);
  folder.write_config(schema::effective_yaml(loaded));

  // The model: frozen base, adapter, optimizer.
  const double load_start = seconds_since_process_start();
  nn::Model model = load_base(inputs, config, place, stop);
  const io::AdapterConfig adapter = attach(model, config, resumed);
  std::unique_ptr<optim::PagedArena> paged = paged_memory(config, place, folder.path());
  optim::PagedArena* paging = paged.get();
  optim::Optimizer optimizer(optimizer_config(config), parameters(model), std::move(paged), place.queue);
  if (paging != nullptr) say(paging->text());
  if (resumed) io::load_optimizer(optimizer, resumed->checkpoint / io::kOptimizerFile);
  nn::Pass pass(model, config.max_length, place);
  const double load_s = seconds_since_process_start() - load_start;

  // The loop.
  StepOptions step;
  step.gradient_accumulation_steps = config.gradient_accumulation_steps;
  step.max_grad_norm = config.max_grad_norm;
  step.seed = state.seed;
  step.pass.loss_chunk_tokens = loss_chunk_tokens(config);
  step.pass.recompute.assign(model.layers.size(), inputs.plan.recompute);
  if (paging != nullptr) step.pass.backward_reaches = [paging](int64_t layer) { paging->prefetch_ahead(layer); };
  if (place.queue) {  // a GPU wants them all at once
    step.pass_tokens = std::numeric_limits<int32_t>::max();
    step.pass_multiple = 1;
  }
  LoopSchedule schedule;
  schedule.logging_steps = config.logging_steps;
  schedule.eval_steps = config.eval_strategy == EvalStrategy::kSteps ? config.eval_steps : 0;
  schedule.eval_at_epoch_end = config.eval_strategy == EvalStrategy::kEpoch;
  schedule.save_steps = config.save_steps;
  schedule.learning_rate = config.learning_rate;
  schedule.curve = schedule_config(config, state.max_steps);
  MetricsLog metrics(folder.metrics_path());
  LoopHooks hooks;
  hooks.progress = &progress;
  hooks.evaluate = [&] { return score_rows(pass, inputs.validation, config.per_device_eval_batch_size, loss_chunk_tokens(config)).loss(); };
  hooks.measure = [&](MetricsRow& row) {
    if (paging == nullptr) return;
    const optim::PagingCounters counters = paging->counters();
    row.paged_resident_bytes = counters.resident_bytes;
    row.paged_prefetched_bytes = counters.prefetched_bytes;
    row.paged_evicted_bytes = counters.evicted_bytes;
  };
  hooks.log = [&](const MetricsRow& row) {
    metrics.write(row);
    folder.log(logged_line(row, state.max_steps, std::nullopt));
  };
  hooks.save = [&](const RunState& now) {
    metrics.sync();
    const auto saved = io::save_checkpoint(
        folder.path(), now.global_step,
        {run_state_json(now), schema::effective_yaml(loaded),
         [&](const std::filesystem::path& to) { io::write_adapter(to, model, adapter); },
         [&](const std::filesystem::path& to) { io::save_optimizer(optimizer, to / io::kOptimizerFile); }});
    // Checkpoints past this step belong to a run that was left for this one.
    for (const io::CheckpointInfo& other : io::list_checkpoints(folder.path(), io::CheckDepth::kSizes)) {
      if (other.step > now.global_step) io::remove_checkpoint(other.path);
    }
    io::rotate_checkpoints(folder.path(), config.save_total_limit, saved, {});
    folder.log(fmt::format("saved {}", saved.filename().string()));
  };
  const LoopResult result =
      train_loop({model, pass, optimizer, batches, stop}, step, schedule, hooks, seconds_since_process_start, state);

  nlohmann::ordered_json out;
  out["output_dir"] = folder.path().string();
  out["global_step"] = state.global_step;
  out["train_loss"] = finite_or_null(recent_loss(state));
  out["eval_loss"] = result.last_eval_loss ? finite_or_null(*result.last_eval_loss) : nlohmann::ordered_json();
  out["tokens_per_s"] = median(result.step_tokens_per_s);
  out["first_step_s"] = result.first_step_done_s;
  out["load_s"] = load_s;
  out["peak_rss_mib"] = peak_rss_mib();
  out["peak_gpu_mib"] = 0.0;
  out["interrupted"] = result.interrupted;
  if (json) {
    std::cout << out.dump() << "\n";
  } else {
    std::cout << fmt::format("{} {} steps, loss {:.4f}, {:.0f} tokens/s, peak {:.0f} MiB: {}\n", result.interrupted ? "interrupted after" : "trained",
                             state.global_step, recent_loss(state), median(result.step_tokens_per_s), peak_rss_mib(),
                             (folder.path() / io::checkpoint_name(state.global_step)).string());
  }
  if (!result.interrupted) return static_cast<int>(ExitCode::kOk);
  say(fmt::format("{}: saved {}; continue with `nibble resume {}`", stop.name(), io::checkpoint_name(state.global_step), folder.path().string()));
  return static_cast<int>(ExitCode::kInterrupted);
}

Command make_train_command() {
  return {"train", "Train as a configuration says", [](CLI::App& app, const CommonOptions& common) -> std::function<int()> {
            struct Options {
              std::string config;
              bool resume = false, dry_run = false;
            };
            const auto o = std::make_shared<Options>();
            app.add_option("CONFIG", o->config, "YAML file; `nibble config docs` lists its keys")->required();
            app.add_flag("--resume", o->resume, "Continue the newest good checkpoint of output_dir, if there is one");
            app.add_flag("--dry-run", o->dry_run, "Read the data, print the memory plan and stop");
            return [o, &common] {
              const schema::LoadedConfig loaded = schema::load_run_config(o->config, common.set, schema::Needs::kTraining);
              return train_run(loaded, {o->resume || loaded.config.resume_from_checkpoint, ""}, o->dry_run, common.json);
            };
          }};
}

}  // namespace nibble::trainer
