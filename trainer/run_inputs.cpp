#include "trainer/run_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

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
  for (int64_t r = 0; r < dataset.rows(); ++r) {
    int64_t tokens = 0;
    for (int64_t document : dataset.row(r)) {
      const auto length = static_cast<int64_t>(dataset.ids(document).size());
      longest.document = std::max(longest.document, length);
      tokens += length;
    }
    longest.row = std::max(longest.row, tokens);
  }
  return longest;
}

std::string fingerprint(const schema::RunConfig& config) {
  std::string text;
  for (const auto& [key, value] : schema::resume_keys(config)) {
    if (key != "model_name_or_path") text += key + "=" + value + "\n";
  }
  return xxh3_128(text);
}

std::string data_line(const char* name, const data::DatasetStats& s) {
  std::string line = fmt::format("{}: {} examples ({}{}{}), {} documents in {} rows, {} tokens, {:.0f}% trained", name, s.examples, s.format,
                                 s.template_name.empty() ? "" : ", ", s.template_name, s.documents, s.rows, s.tokens,
                                 100.0 * static_cast<double>(s.trained_tokens) / static_cast<double>(std::max<int64_t>(1, s.tokens)));
  if (s.truncated > 0) line += fmt::format("; {} cut to max_length", s.truncated);
  if (s.dropped_long > 0) line += fmt::format("; {} left out, longer than max_length", s.dropped_long);
  if (s.dropped_untrained > 0) line += fmt::format("; {} left out, nothing in them is trained on", s.dropped_untrained);
  return line;
}

// A wrong path in the configuration is told as a matter of data, before the model is looked at.
void expect_files(const char* key, const std::vector<std::string>& files) {
  for (const std::string& file : files) {
    std::error_code ignored;
    if (!std::filesystem::exists(file, ignored)) {
      throw DataError(fmt::format("{} names this file, which does not exist; correct the path (relative ones start at the YAML file)", key), {file});
    }
  }
}

// Chooses what the configuration leaves open.
void make_plan(RunInputs& inputs, const schema::RunConfig& config, const nn::Place& place) {
  PlanInput input = plan_input(config, inputs.source->config(), 0);
  input.device = place.queue ? PlanDevice::kCuda : PlanDevice::kCpu;
  input.attention_on_host = place.device.is_cpu();
  if (const auto stored = stored_quant(*inputs.source); stored && config.load_in_4bit) input.quant = *stored;
  const Lengths longest = longest_of(inputs.train);
  set_batch(input, std::min(config.per_device_train_batch_size, inputs.train.rows()), longest.row, longest.document);
  if (config.eval_strategy != EvalStrategy::kNo) {
    const Lengths scored = longest_of(inputs.validation);
    set_eval_batch(input, std::min(config.per_device_eval_batch_size, inputs.validation.rows()), scored.row, scored.document);
  }
  input.process_bytes = resident_bytes();
  input.looked_up_bytes = looked_up_bytes(inputs.train, inputs.validation, input.model.hidden_size * input.element_bytes);
  if (!input.fixed.streamed && !can_be_streamed(*inputs.source, config, static_cast<bool>(place.queue))) input.fixed.streamed = false;
  inputs.budget = place.queue ? gpu_budget(config, place) : cpu_budget(config, /*base_is_open=*/true);
  const HardwareSpeed& speed = place.queue ? typical_gpu(inputs.budget.bytes) : tabled_cpu();
  PlannedRun run = search_plan(input, inputs.budget.bytes, speed);
  if (!run.fits) run = search_plan(input, inputs.budget.most_bytes, speed);  // closer to the limit than one would like
  inputs.plan = run.input;
}

}  // namespace

RunInputs open_run_inputs(const schema::RunConfig& config, const nn::Place& place) {
  const MemoryStage stage(place.account, "reading the data", MemoryPart::kLibraries);
  expect_files("train_file", config.train_file);
  expect_files("validation_file", config.validation_file);
  auto source = io::open_weight_source(config.model_name_or_path);
  if (config.max_length > source->config().max_position_embeddings) {
    throw ConfigError(fmt::format("max_length = {} is more than the model's {} positions", config.max_length,
                                  source->config().max_position_embeddings));
  }
  data::Tokenizer tokenizer = open_tokenizer(*source);
  if (tokenizer.vocab_size() > source->config().vocab_size) {
    throw FormatError(fmt::format("the tokenizer has {} tokens and the model {}: they do not belong together", tokenizer.vocab_size(),
                                  source->config().vocab_size), source->path().string());
  }
  RunInputs inputs{std::move(source), std::move(tokenizer), {}, {}, {}, {}, {}};
  inputs.train = data::load_dataset(train_data_options(config), inputs.tokenizer);
  inputs.identity.data_hash = inputs.train.stats.hash;
  if (config.validation_split_ratio > 0) {
    const data::DatasetStats whole = inputs.train.stats;
    std::tie(inputs.train, inputs.validation) =
        data::split_dataset(inputs.train, config.validation_split_ratio, static_cast<uint64_t>(config.seed));
    inputs.train.stats.warnings = whole.warnings;
  } else if (!config.validation_file.empty()) {
    inputs.validation = data::load_dataset(validation_data_options(config), inputs.tokenizer);
  }
  inputs.identity.base_hash = inputs.source->fingerprint();
  inputs.identity.tokenizer_hash = inputs.tokenizer.hash();
  inputs.identity.config_fingerprint = fingerprint(config);
  make_plan(inputs, config, place);
  return inputs;
}

std::vector<std::string> describe_plan(const RunInputs& inputs) {
  constexpr double kGib = 1024.0 * 1024.0 * 1024.0;
  const auto gib = [](int64_t bytes) { return static_cast<double>(bytes) / kGib; };
  PlanInput fastest = inputs.plan;
  fastest.choices = fastest_choices(inputs.plan);
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

std::vector<std::string> describe_data(const RunInputs& inputs) {
  std::vector<std::string> lines{data_line("train", inputs.train.stats)};
  if (inputs.validation.rows() > 0) lines.push_back(data_line("validation", inputs.validation.stats));
  for (const std::string& warning : inputs.train.stats.warnings) lines.push_back("warning: " + warning);
  for (const std::string& warning : inputs.validation.stats.warnings) lines.push_back("warning: " + warning);
  return lines;
}

}  // namespace nibble::trainer
