#include "trainer/run_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "trainer/from_config.h"
#include "trainer/open_tokenizer.h"
#include "trainer/token_batch.h"

namespace nibble::trainer {
namespace {

// A share of the memory is left to the system and to what the plan does not know.
constexpr double kUsableShare = 0.8;

int64_t longest_row(const data::Dataset& dataset) {
  int64_t longest = 0;
  for (int64_t r = 0; r < dataset.rows(); ++r) {
    int64_t tokens = 0;
    for (int64_t document : dataset.row(r)) tokens += static_cast<int64_t>(dataset.ids(document).size());
    longest = std::max(longest, tokens);
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

}  // namespace

RunInputs open_run_inputs(const schema::RunConfig& config) {
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
  RunInputs inputs{std::move(source), std::move(tokenizer), {}, {}, {}, {}};
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
  const int64_t rows = std::min(config.per_device_train_batch_size, inputs.train.rows()), longest = longest_row(inputs.train);
  inputs.plan = plan_input(config, inputs.source->config(), largest_pass(rows * longest, longest, kCpuPassTokens, kCpuPassMultiple));
  if (config.recompute == Recompute::kAuto) {
    inputs.plan.recompute = choose_recompute(inputs.plan, static_cast<int64_t>(kUsableShare * static_cast<double>(memory_limit_bytes())));
  }
  return inputs;
}

std::vector<std::string> describe_data(const RunInputs& inputs) {
  std::vector<std::string> lines{data_line("train", inputs.train.stats)};
  if (inputs.validation.rows() > 0) lines.push_back(data_line("validation", inputs.validation.stats));
  for (const std::string& warning : inputs.train.stats.warnings) lines.push_back("warning: " + warning);
  for (const std::string& warning : inputs.validation.stats.warnings) lines.push_back("warning: " + warning);
  return lines;
}

}  // namespace nibble::trainer
