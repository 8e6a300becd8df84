#include "data/load_dataset.h"

#include <fmt/core.h>

#include <memory>

#include "core/error.h"
#include "data/data_cache.h"
#include "data/parts.h"

namespace nibble::data {
namespace {

void check_options(const DataOptions& options) {
  if (options.files.empty()) throw ConfigError("train_file names no file");
  if (options.max_length < 2) throw ConfigError(fmt::format("max_length = {} is too short: a token is learned from the one before", options.max_length));
  if (options.weights.empty()) return;
  if (options.weights.size() != options.files.size()) {
    throw ConfigError(fmt::format("train_file_weights has {} numbers for {} files: give one for each", options.weights.size(), options.files.size()));
  }
  for (const double weight : options.weights) {
    if (!(weight >= 0 && weight <= kMostFileWeight)) {
      throw ConfigError(fmt::format("train_file_weights: {} is outside 0..{}: how often a file's documents come in an epoch", weight, kMostFileWeight));
    }
  }
}

Dataset part_of(const std::shared_ptr<const PreparedData>& prepared, Part part, const std::vector<std::string>& files) {
  Dataset dataset(prepared, prepared->cache.store, part, files, /*mapped=*/true);
  dataset.stats = prepared->stats;
  count_part(prepared->cache.store.parts[static_cast<size_t>(part)], dataset.stats);
  return dataset;
}

}  // namespace

DatasetParts load_dataset_parts(const DataOptions& options, const Tokenizer& tokenizer, const CacheOptions& cache) {
  check_options(options);
  const auto prepared = std::make_shared<const PreparedData>(prepare_data(options, tokenizer, cache));
  std::vector<std::string> names;
  for (const auto& file : options.files) names.push_back(file.string());
  DatasetParts parts{part_of(prepared, Part::kTrain, names), part_of(prepared, Part::kValidation, names)};
  // What was found in the files is told once.
  DatasetStats& held_out = parts.validation.stats;
  held_out.warnings.clear();
  held_out.duplicate_places.clear();
  held_out.bad_rows = held_out.dropped_long = held_out.dropped_untrained = held_out.truncated = held_out.duplicates = 0;
  parts.train.release_pages();
  return parts;
}

Dataset load_dataset(const DataOptions& options, const Tokenizer& tokenizer, const CacheOptions& cache) {
  return load_dataset_parts(options, tokenizer, cache).train;
}

}  // namespace nibble::data
