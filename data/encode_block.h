// A block of rows as documents: parsed, checked, tokenized, cut or left out. What several threads do at the same time.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/data_options.h"
#include "data/dataset_stats.h"
#include "data/encode_row.h"
#include "data/row_stream.h"
#include "data/token_store.h"
#include "data/tokenizer.h"

namespace nibble::data {

// What holds for all rows of a file. `options` and `file` outlive the blocks that are made with it.
struct FileRules {
  const DataOptions& options;
  const std::string& file;
  int32_t file_index = 0;
  RowShape shape;
  bool counts_rows = false;  // lines are numbers of rows (RowStream::counts_rows)
  EncodeRules encode;
};

// A row that is left out because something is wrong with it.
struct BadRow {
  int64_t line = 0;
  std::string message;
};

struct EncodedBlock {
  std::vector<int32_t> words;           // documents, end to end (data/token_store.h)
  std::vector<DocumentRecord> records;  // `first` counts from this block's first word
  RowFindings found;
  std::vector<BadRow> bad_rows;         // ends with the first that max_bad_rows does not allow, and so do the documents
  int64_t too_long = 0;                 // documents above max_length where truncation is raise
  std::optional<Finding> first_too_long;
};

// THROWS DataError of the first bad row where max_bad_rows is 0; ConfigError.
EncodedBlock encode_block(const RowBlock& block, const FileRules& rules, const Tokenizer& tokenizer);

}  // namespace nibble::data
