#include "trainer/run_data.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/load_dataset.h"
#include "trainer/from_config.h"

namespace nibble::trainer {
namespace {

using Json = nlohmann::ordered_json;

void expect_files(const char* key, const std::vector<std::string>& files) {
  for (const std::string& file : files) {
    std::error_code ignored;
    if (!std::filesystem::exists(file, ignored)) {
      throw DataError(fmt::format("{} names this file, which does not exist; correct the path (relative ones start at the YAML file)", key), {file});
    }
  }
}

data::CacheOptions cache_options(const schema::RunConfig& config, const DataHooks& hooks) {
  data::CacheOptions cache = data_cache_options(config);
  cache.say = hooks.say;
  cache.each = hooks.each;
  return cache;
}

std::string data_line(const char* name, const data::DatasetStats& s) {
  std::string line = fmt::format("{}: {} examples ({}{}{}), {} documents in {} rows, {} tokens, {:.0f}% trained", name, s.examples, s.format,
                                 s.template_name.empty() ? "" : ", ", s.template_name, s.documents, s.rows, s.tokens,
                                 100.0 * static_cast<double>(s.trained_tokens) / static_cast<double>(std::max<int64_t>(1, s.tokens)));
  if (s.truncated > 0) line += fmt::format("; {} cut to max_length", s.truncated);
  if (s.dropped_long > 0) line += fmt::format("; {} left out, longer than max_length", s.dropped_long);
  if (s.dropped_untrained > 0) line += fmt::format("; {} left out, nothing in them is trained on", s.dropped_untrained);
  if (s.bad_rows > 0) line += fmt::format("; {} bad rows left out", s.bad_rows);
  if (s.duplicates > 0) line += fmt::format("; {} are others again ({})", s.duplicates, fmt::join(s.duplicate_places, ", "));
  return line;
}

}  // namespace

RunData load_run_data(const schema::RunConfig& config, const data::Tokenizer& tokenizer, const DataHooks& hooks) {
  expect_data_files(config);
  RunData run;
  data::DatasetParts parts = data::load_dataset_parts(train_data_options(config), tokenizer, cache_options(config, hooks));
  run.train = std::move(parts.train);
  run.validation = config.validation_file.empty() ? std::move(parts.validation) : load_validation_data(config, tokenizer, hooks);
  run.shared = data::find_shared(run.train, run.validation);
  run.train.release_pages();
  run.validation.release_pages();
  return run;
}

data::Dataset load_validation_data(const schema::RunConfig& config, const data::Tokenizer& tokenizer, const DataHooks& hooks) {
  const data::DataOptions options = validation_data_options(config);
  if (options.files.empty()) throw ConfigError("there is no validation data: set validation_file");
  return data::load_dataset(options, tokenizer, cache_options(config, hooks));
}

void expect_data_files(const schema::RunConfig& config) {
  expect_files("train_file", config.train_file);
  expect_files("validation_file", config.validation_file);
}

std::vector<std::string> describe_data(const RunData& run) {
  std::vector<std::string> lines{data_line("train", run.train.stats)};
  if (run.validation.rows() > 0) lines.push_back(data_line("validation", run.validation.stats));
  for (const data::Dataset* part : {&run.train, &run.validation}) {
    for (const std::string& warning : part->stats.warnings) lines.push_back("warning: " + warning);
    if (part->stats.doubled_bos > 0) lines.push_back(fmt::format("warning: {} documents begin with two BOS tokens", part->stats.doubled_bos));
  }
  if (run.shared.count > 0) {
    lines.push_back(fmt::format("warning: {} of {} validation documents are trained on too, so their loss says nothing about other text ({})", run.shared.count,
                                run.validation.documents(), fmt::join(run.shared.places, ", ")));
  }
  return lines;
}

std::vector<LengthBin> length_bins(const data::DatasetStats& stats) {
  std::vector<LengthBin> bins;
  for (size_t b = 0; b < stats.lengths.size(); ++b) {
    if (stats.lengths[b] > 0) bins.push_back({int64_t{1} << b, (int64_t{2} << b) - 1, stats.lengths[b]});
  }
  return bins;
}

nlohmann::ordered_json dataset_json(const data::DatasetStats& s) {
  Json out{{"format", s.format}, {"template", s.template_name}, {"examples", s.examples}, {"documents", s.documents}, {"rows", s.rows},
           {"tokens", s.tokens}, {"trained_tokens", s.trained_tokens}, {"bad_rows", s.bad_rows}, {"truncated", s.truncated},
           {"dropped_long", s.dropped_long}, {"dropped_untrained", s.dropped_untrained}, {"duplicates", s.duplicates}, {"longest", s.longest},
           {"begin_with_bos", s.begin_with_bos}, {"doubled_bos", s.doubled_bos}, {"bos_dropped", s.bos_dropped}, {"end_with_eos", s.end_with_eos}, {"no_end_of_turn", s.no_end_of_turn},
           {"eos_masked", s.eos_masked}, {"special_text", s.special_text}, {"left_out", s.left_out}};
  out["lengths"] = Json::array();
  for (const LengthBin& bin : length_bins(s)) out["lengths"].push_back({{"from", bin.from}, {"to", bin.to}, {"documents", bin.documents}});
  out["warnings"] = s.warnings;
  out["duplicate_places"] = s.duplicate_places;
  out["hash"] = s.hash;
  return out;
}

std::string data_json(const RunData& run) {
  Json out{{"train", dataset_json(run.train.stats)}, {"validation", nullptr}, {"shared", run.shared.count}};
  if (run.validation.rows() > 0) out["validation"] = dataset_json(run.validation.stats);
  out["shared_places"] = run.shared.places;
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace nibble::trainer
