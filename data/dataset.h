// A dataset ready to train on: token ids and labels of every document, and the rows they are packed into.
//
//   files -> rows (row_file) -> checked content (json_row, row_schema) -> text (template) -> ids (tokenizer) -> Dataset
//
// Rows are parsed and tokenized by several threads; the result does not depend on how many.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "data/sample.h"
#include "data/template.h"
#include "data/tokenizer.h"
#include "schema/enums.h"

namespace nibble::data {

struct DataOptions {
  std::vector<std::filesystem::path> files;     // one schema in each; all read one after the other
  DatasetFormat format = DatasetFormat::kAuto;
  TemplateRequest chat_template;                // which template writes conversations
  int64_t max_length = 1024;                    // tokens in a row
  Truncation truncation = Truncation::kRaise;   // what happens to longer documents
  bool packing = true;                          // false: one document a row
  bool assistant_only_loss = true;
  uint64_t seed = 42;                           // of split_dataset
  bool shuffle = true;                          // not read here: BatchStream's
  int threads = 0;                              // 0: as many as the machine has
};

struct DatasetStats {
  std::string format;              // "alpaca", "text", ...; of several files, distinct ones joined with '+'
  std::string template_name;       // "chatml", "llama3, the model's own", or "" where none was used
  int64_t examples = 0;            // rows of the files
  int64_t documents = 0;           // of these, kept
  int64_t rows = 0;                // packed rows (documents where packing is off)
  int64_t tokens = 0;
  int64_t trained_tokens = 0;      // labels that count: the first of a document does not
  int64_t truncated = 0;           // documents cut to max_length
  int64_t dropped_long = 0;        // documents left out because they are longer
  int64_t dropped_untrained = 0;   // documents left out because nothing in them is trained on
  int64_t longest = 0;             // tokens of the longest document before truncation
  std::vector<std::string> warnings;  // "FILE:LINE: ...", the first few of each kind
  std::string hash;                // XXH3-128 over the files' hashes, in order: for checkpoints
};

class Dataset {
 public:
  Dataset() = default;
  // Takes documents as they are. capacity: the longest row. THROWS DataError where a document is longer or empty.
  Dataset(const std::vector<Sample>& documents, int64_t capacity, bool packing);

  int64_t documents() const { return static_cast<int64_t>(starts_.size()) - 1; }
  std::span<const int32_t> ids(int64_t document) const { return part(ids_, document); }
  std::span<const int32_t> labels(int64_t document) const { return part(labels_, document); }

  int64_t rows() const { return static_cast<int64_t>(rows_.size()); }
  const std::vector<int64_t>& row(int64_t row) const { return rows_[row]; }  // documents, in the order they are laid

  DatasetStats stats;

 private:
  friend std::pair<Dataset, Dataset> split_dataset(const Dataset&, double, uint64_t);
  std::span<const int32_t> part(const std::vector<int32_t>& values, int64_t document) const {
    return std::span(values).subspan(starts_[document], starts_[document + 1] - starts_[document]);
  }
  void add(std::span<const int32_t> ids, std::span<const int32_t> labels);
  void pack(int64_t capacity, bool packing);  // fills rows_ and the counts of stats

  std::vector<int32_t> ids_, labels_;     // of all documents, end to end
  std::vector<int64_t> starts_ = {0};     // [documents + 1]
  std::vector<std::vector<int64_t>> rows_;
  int64_t capacity_ = 0;
  bool packing_ = false;
};

// THROWS DataError (file:line and field), ConfigError (no template fits, no EOS), IoError.
Dataset load_dataset(const DataOptions& options, const Tokenizer& tokenizer);

// (training part, validation part): round(ratio * documents) documents go to validation, at least one, chosen by the
// seed; both parts keep the files' order. THROWS ConfigError where a part would be empty.
std::pair<Dataset, Dataset> split_dataset(const Dataset& dataset, double ratio, uint64_t seed);

}  // namespace nibble::data
