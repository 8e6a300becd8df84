// What data preparation hands to training: token ids with a label for each, and rows of one or more documents.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace nibble::data {

inline constexpr int32_t kIgnoredLabel = -100;

// What is odd about a row without keeping it from being used. The first few of a kind are said, all are counted.
struct RowWarning {
  enum class Kind : uint8_t {
    kSpecialText,   // the row's own text holds the name of a special token; it is read as characters
    kDoubledBos,    // two BOS in front; one is dropped
    kNoEndOfTurn,   // the last token learned is no end of a turn, so this row does not teach to stop
    kLeftOut,       // the template writes nothing of a message
    kEosMasked,     // pre-tokenized: EOS follows what is learned, but is masked (a collator took it for padding)
  };
  Kind kind;
  std::string text;  // what a person reads, without the place
};

// One document. labels[i] is ids[i] itself where it is trained on and kIgnoredLabel where it is not (unshifted:
// position i-1 predicts labels[i]; the first label of a document never counts).
struct Sample {
  std::vector<int32_t> ids;
  std::vector<int32_t> labels;  // as long as ids
  std::vector<RowWarning> warnings = {};
};

// One micro-batch: B documents or packed rows laid end to end, without padding. Documents never attend to each other.
struct Batch {
  std::vector<int32_t> ids;             // [T]
  std::vector<int32_t> labels;          // [T], unshifted; the first of each document is kIgnoredLabel
  std::vector<int32_t> positions;       // [T], restart at 0 with every document
  std::vector<int32_t> document_starts; // [documents + 1], first token of each document; the last entry is T
  int64_t trained_tokens = 0;           // labels that are not kIgnoredLabel

  int64_t tokens() const { return static_cast<int64_t>(ids.size()); }
};

}  // namespace nibble::data
