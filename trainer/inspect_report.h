// What a run would learn, row by row, for people and scripts: `nibble inspect`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/tokenizer.h"
#include "trainer/token_pieces.h"

namespace nibble::trainer {

struct InspectedDocument {
  int64_t index = 0;              // in the dataset
  std::string place;              // "FILE:LINE"
  std::vector<int32_t> ids;
  std::vector<int32_t> labels;    // the id itself where trained, -100 where masked; the first of a document never counts
  std::vector<TokenRun> runs;     // the same as text
  int64_t trained = 0;            // tokens
};

struct InspectedRow {
  int64_t index = 0;
  std::vector<InspectedDocument> documents;
  int64_t tokens = 0, trained = 0;
};

struct InspectReport {
  std::string split;               // "train" or "validation"
  int64_t capacity = 0;            // max_length, tokens
  data::DatasetStats stats;
  std::vector<std::string> summary;  // describe_data's lines: counts, then warnings
  std::vector<InspectedRow> rows;
};

// `count` rows from row `first` on (as the dataset lays them, before an epoch's order); fewer where it ends.
std::vector<InspectedRow> inspect_rows(const data::Dataset& dataset, int64_t first, int64_t count, const data::Tokenizer& tokenizer);

// How documents begin and end: what decides whether the model learns to stop. One line each.
std::vector<std::string> audit_lines(const data::DatasetStats& stats);

struct TextStyle {
  bool colour = false;   // trained tokens green, masked ones dim
  bool with_ids = false; // ids under each run
};
std::string inspect_text(const InspectReport& report, const TextStyle& style);

// {"rows": [{"input_ids", "labels", "documents": [{"index", "place", "start", "tokens", "trained_tokens"}]}], "stats": {...}, "summary": [...]}
std::string inspect_json(const InspectReport& report);

// One page without anything from elsewhere; a token's id and number are shown where the pointer rests on it.
std::string inspect_html(const InspectReport& report, const std::string& title);

}  // namespace nibble::trainer
