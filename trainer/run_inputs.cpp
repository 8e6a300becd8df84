#include "trainer/run_inputs.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/memory_limit.h"
#include "trainer/from_config.h"
#include "trainer/load_base.h"
#include "trainer/open_tokenizer.h"
#include "trainer/plan_search.h"

namespace nibble::trainer {
namespace {

struct Lengths {
  int64_t row = 0, document = 0;  // tokens of the longest
};

Lengths longest_of(const data::Dataset& dataset) {
  Lengths longest;
  for (int64_t r = 0; r < dataset.rows(); ++r) longest.row = std::max(longest.row, dataset.row_tokens(r));
  for (int64_t d = 0; d < dataset.documents(); ++d) longest.document = std::max(longest.document, dataset.length(d));
  return longest;
}

std::string fingerprint(const schema::RunConfig& config) {
  std::string text;
  for (const auto& [key, value] : schema::resume_keys(config)) {
    if (key != "model_name_or_path") text += key + "=" + value + "\n";
  }
  return xxh3_128(text);
}

// Chooses what the configuration leaves open.
void make_plan(RunInputs& inputs, const schema::RunConfig& config, const nn::Place& place) {
  PlanInput input = plan_input(config, inputs.source->config(), 0);
  input.device = place.queue ? PlanDevice::kCuda : PlanDevice::kCpu;
  input.attention_on_host = place.device.is_cpu();
  if (const auto stored = stored_quant(*inputs.source); stored && config.load_in_4bit) input.quant = *stored;
  const Lengths longest = longest_of(inputs.data.train);
  set_batch(input, std::min(config.per_device_train_batch_size, inputs.data.train.rows()), longest.row, longest.document);
  if (config.eval_strategy != EvalStrategy::kNo) {
    const Lengths scored = longest_of(inputs.data.validation);
    set_eval_batch(input, std::min(config.per_device_eval_batch_size, inputs.data.validation.rows()), scored.row, scored.document);
  }
  const int64_t batches = (inputs.data.train.rows() + config.per_device_train_batch_size - 1) / config.per_device_train_batch_size;
  input.saves_midway = config.save_steps > 0 && config.save_steps < total_steps(config, batches);
  input.process_bytes = resident_bytes();
  input.looked_up_bytes = looked_up_bytes(inputs.data.train, inputs.data.validation, input.model.hidden_size * input.element_bytes);
  if (!input.fixed.streamed && !can_be_streamed(*inputs.source, config, static_cast<bool>(place.queue))) input.fixed.streamed = false;
  inputs.budget = place.queue ? gpu_budget(config, place) : cpu_budget(config, /*base_is_open=*/true);
  const HardwareSpeed& speed = place.queue ? typical_gpu(inputs.budget.bytes) : tabled_cpu();
  PlannedRun run = search_plan(input, inputs.budget.bytes, speed);
  if (!run.fits) run = search_plan(input, inputs.budget.most_bytes, speed);  // closer to the limit than one would like
  inputs.plan = run.input;
}

}  // namespace

RunInputs open_run_inputs(const schema::RunConfig& config, const nn::Place& place, const DataHooks& hooks) {
  const MemoryStage stage(place.account, "reading the data", MemoryPart::kLibraries);
  expect_data_files(config);
  const auto poll = [&] {
    if (hooks.each) hooks.each();
  };
  poll();
  auto source = io::open_weight_source(config.model_name_or_path);
  if (config.max_length > source->config().max_position_embeddings) {
    throw ConfigError(fmt::format("max_length = {} is more than the model's {} positions", config.max_length,
                                  source->config().max_position_embeddings));
  }
  data::Tokenizer tokenizer = open_tokenizer(*source);
  poll();
  if (tokenizer.vocab_size() > source->config().vocab_size) {
    throw FormatError(fmt::format("the tokenizer has {} tokens and the model {}: they do not belong together", tokenizer.vocab_size(),
                                  source->config().vocab_size), source->path().string());
  }
  RunInputs inputs{std::move(source), std::move(tokenizer), {}, {}, {}, {}};
  inputs.data = load_run_data(config, inputs.tokenizer, hooks);
  inputs.identity.data_hash = inputs.data.train.stats.hash;
  inputs.identity.base_hash = inputs.source->fingerprint();
  inputs.identity.tokenizer_hash = inputs.tokenizer.hash();
  inputs.identity.config_fingerprint = fingerprint(config);
  poll();
  make_plan(inputs, config, place);
  return inputs;
}

std::vector<std::string> describe_plan(const RunInputs& inputs) {
  constexpr double kGib = 1024.0 * 1024.0 * 1024.0;
  const auto gib = [](int64_t bytes) { return static_cast<double>(bytes) / kGib; };
  PlanInput fastest = inputs.plan;
  fastest.choices = fastest_choices(inputs.plan);
  fastest.choices.background_save = inputs.plan.choices.background_save;  // no step's time
  std::vector<std::string> lines{fmt::format("memory: {:.2f} GiB planned, {:.2f} GiB there ({}); {}", gib(plan_memory(inputs.plan).total_bytes()),
                                 gib(inputs.budget.bytes), inputs.budget.of, choices_text(inputs.plan.choices))};
  if (inputs.plan.choices == fastest.choices) return lines;
  const HardwareSpeed& speed = inputs.plan.device == PlanDevice::kCuda ? typical_gpu(inputs.budget.bytes) : tabled_cpu();
  const double slower = tokens_per_s(fastest, speed) / tokens_per_s(inputs.plan, speed) - 1;
  lines.push_back(fmt::format("memory: the fastest choices would take {:.2f} GiB; these cost about {:.0f} % of a step's time", gib(plan_memory(fastest).total_bytes()),
                              100 * slower));
  return lines;
}

void settle_choices(RunInputs& inputs, const schema::RunConfig& config, RunState& state, const std::function<void(const std::string&)>& say) {
  MemoryChoices& choices = inputs.plan.choices;
  const std::string before = state.memory_choices.value_or("");
  if (const auto chunk = stored_loss_chunk(before); chunk && config.loss_chunk_tokens == 0) choices.loss_chunk_tokens = *chunk;
  state.memory_choices = choices_json(choices);
  if (before.empty() || before == *state.memory_choices) return;
  say(fmt::format("memory: chosen otherwise than before, which changes no number: {} (before: {})", choices_text(choices), before));
}

}  // namespace nibble::trainer
