// From documents to what an epoch holds: which go to validation, how often each comes, and the rows they share.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "data/dataset_stats.h"
#include "data/token_store.h"
#include "schema/enums.h"

namespace nibble::data {

inline constexpr double kMostFileWeight = 1000;

struct PartRules {
  std::vector<double> weights;        // of the files; empty: 1 each
  double validation_split_ratio = 0;  // 0: no validation part
  uint64_t seed = 42;
  int64_t capacity = 1024;            // tokens of a row
  bool packing = true;                // false: a document is a row
  PackingStrategy strategy = PackingStrategy::kFfd;
};

struct PartArrays {
  std::vector<int64_t> documents;
  std::vector<RowRecord> rows;
  std::vector<int64_t> row_documents;

  PartView view() const { return {documents, rows, row_documents}; }
};

// round(ratio * documents) documents go to validation, at least one, chosen by the seed. Of the others, a file's come as often as its
// weight says: 2 is all of them twice, the second time behind everything that comes once; 0.5 is half of them, chosen by the seed and
// the file's place in the list; 0 none. Both parts keep the order. THROWS ConfigError where a part would be empty.
std::array<PartArrays, kParts> make_parts(std::span<const DocumentRecord> records, const PartRules& rules);

// Sets documents, rows, tokens and trained_tokens of a part.
void count_part(const PartView& part, DatasetStats& stats);

}  // namespace nibble::data
