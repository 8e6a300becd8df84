// What preparing data found: counts, a histogram, and findings with their places. Kept in the cache beside the tokens, so that a run
// that reuses them says the same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace nibble::data {

struct DatasetStats {
  std::string format;              // "alpaca", "text", ...; of several files, distinct ones joined with '+'
  std::string template_name;       // "chatml", "alpaca", or "" where none was used
  int64_t examples = 0;            // rows of the files
  int64_t bad_rows = 0;            // of these, left out because something is wrong with them (max_bad_rows)
  int64_t dropped_long = 0;        // left out because they are longer than max_length
  int64_t dropped_untrained = 0;   // left out because nothing in them is trained on
  int64_t truncated = 0;           // cut to max_length
  int64_t longest = 0;             // tokens of the longest document before truncation
  int64_t duplicates = 0;          // documents whose tokens and labels an earlier one has
  int64_t begin_with_bos = 0;      // documents whose first token is BOS
  int64_t doubled_bos = 0;         // of these, whose second is BOS too
  int64_t bos_dropped = 0;         // whose second BOS was taken out
  int64_t end_with_eos = 0;        // documents whose last trained token is EOS or another special token, such as an end of turn
  int64_t no_end_of_turn = 0;      // documents that do not teach to stop
  int64_t eos_masked = 0;          // of these, pre-tokenized ones with EOS there but masked
  int64_t left_out = 0;            // documents with a message that the template leaves out
  int64_t special_text = 0;        // documents whose own text names a special token, which is read as characters
  std::vector<int64_t> lengths;    // [b]: documents of 2^b to 2^(b+1) - 1 tokens, before truncation
  int64_t documents = 0;           // of an epoch: one of a file that weighs 2 counts as two
  int64_t rows = 0;                // packed rows (documents where packing is off)
  int64_t tokens = 0;              // of an epoch
  int64_t trained_tokens = 0;      // labels that count: the first of a document does not
  std::vector<std::string> warnings;          // "FILE:LINE: ...", the first few of each kind
  std::vector<std::string> duplicate_places;  // "FILE:LINE is FILE:LINE again", the first few
  std::string hash;                // XXH3-128 over the files' hashes, in order: for checkpoints
};

// Where a document comes from, whatever its file is called by now.
struct RowSpot {
  int32_t file = 0;  // index in the list of files
  int64_t line = 0;
};
// Kinds whose first few are told each.
enum class FindingKind : uint8_t { kBadRow, kTooLong, kTruncated, kUntrained, kSpecialText, kDoubledBos, kNoEndOfTurn, kEosMasked, kLeftOut };
inline constexpr size_t kFindingKinds = 9;
struct Finding {
  FindingKind kind = FindingKind::kBadRow;
  RowSpot spot;
  std::string text;
};

inline constexpr int64_t kFindingsOfAKind = 5;

// Counts and findings of some rows, in their order; those of the rows behind them are added.
struct RowFindings {
  DatasetStats counts;            // what can be counted row by row; texts and totals of an epoch stay empty
  std::vector<Finding> findings;  // at most kFindingsOfAKind of each kind

  void tell(FindingKind kind, RowSpot spot, std::string text);
  void count_length(int64_t tokens);  // into longest and lengths
  void add(RowFindings&& later);

 private:
  int64_t told_[kFindingKinds] = {};
};

struct DuplicatePair {
  RowSpot first, again;
};

// As JSON, with files as numbers.
std::string stats_json(const RowFindings& rows, const std::vector<DuplicatePair>& duplicates);
// Back, with files by name. THROWS FormatError (without a path) where the text is not what stats_json writes.
DatasetStats read_stats(std::string_view json, const std::vector<std::string>& files);

}  // namespace nibble::data
