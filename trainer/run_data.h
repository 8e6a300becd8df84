// The rows that a run trains and evaluates on, and what is said about them: the same for train, eval and preprocess.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/repeats.h"
#include "data/tokenizer.h"
#include "schema/run_config.h"

namespace nibble::trainer {

struct RunData {
  data::Dataset train, validation;  // validation may have no rows
  data::SharedDocuments shared;     // by both
};

struct DataHooks {
  std::function<void(const std::string&)> say;  // one line for people; may be empty
  std::function<void()> each;                   // called again and again while rows are read; may throw to stop
};

// Prepared now or taken from the cache. THROWS DataError where a file is not there, what data/load_dataset.h throws.
RunData load_run_data(const schema::RunConfig& config, const data::Tokenizer& tokenizer, const DataHooks& hooks);
// The validation files alone. THROWS ConfigError where there are none.
data::Dataset load_validation_data(const schema::RunConfig& config, const data::Tokenizer& tokenizer, const DataHooks& hooks);

// A wrong path in the configuration is told as a matter of data, before anything is opened. THROWS DataError.
void expect_data_files(const schema::RunConfig& config);

// "train: 328 examples (alpaca, chatml), 328 documents in 41 rows, 12345 tokens, 45% trained", then findings and warnings.
std::vector<std::string> describe_data(const RunData& data);

struct LengthBin {
  int64_t from = 0, to = 0;  // tokens
  int64_t documents = 0;
};
std::vector<LengthBin> length_bins(const data::DatasetStats& stats);  // without empty ones

// All counts of one part, the histogram of lengths, and the findings.
nlohmann::ordered_json dataset_json(const data::DatasetStats& stats);

// {"train": {...}, "validation": {...} or null, "shared": N}: dataset_json of each.
std::string data_json(const RunData& data);

}  // namespace nibble::trainer
