// Tokenized documents and the rows they are packed into, as plain arrays: the same in memory and in a mapped cache file, where
// they may be larger than memory.
//
// A document is `length` token ids followed by one bit for each, 32 to a word from the lowest: whether it is trained on. Labels
// need no more, for a label is the id itself or nothing. 4.13 bytes a token, and a document's bytes lie together.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "data/sample.h"

namespace nibble::data {

struct DocumentRecord {
  int64_t first = 0;        // word of its first id
  int64_t line = 0;         // in its file, 1-based
  int32_t length = 0;       // tokens
  int32_t trained = 0;      // labels that count: the first does not
  int32_t file = 0;         // index in the list of files
  int32_t zero = 0;         // fills up to 8 bytes
  uint64_t hash_low = 0;    // XXH3-128 of its words
  uint64_t hash_high = 0;

  bool same_tokens(const DocumentRecord& other) const { return hash_low == other.hash_low && hash_high == other.hash_high; }
};
static_assert(sizeof(DocumentRecord) == 48);

struct RowRecord {
  int64_t begin = 0;    // its first entry in row_documents
  int32_t tokens = 0;
  int32_t trained = 0;
};
static_assert(sizeof(RowRecord) == 16);

// What an epoch of one part of the data holds.
struct PartView {
  std::span<const int64_t> documents;      // indices of records, in the files' order; one that weighs 2 stands here twice
  std::span<const RowRecord> rows;         // [rows + 1]; the last one only ends the one before
  std::span<const int64_t> row_documents;  // indices into `documents`, row by row
};
enum class Part : uint8_t { kTrain, kValidation };
inline constexpr size_t kParts = 2;

struct StoreView {
  std::span<const int32_t> words;
  std::span<const DocumentRecord> records;
  std::span<const uint64_t> used_ids;  // bit i: some document has token i
  std::array<PartView, kParts> parts;
  std::string_view stats;              // JSON (data/dataset_stats.h)
};

inline int64_t flag_words(int64_t length) { return (length + 31) / 32; }

// Appends a document's words. REQUIRES labels that are the id or kIgnoredLabel, as many as ids.
void append_document(std::span<const int32_t> ids, std::span<const int32_t> labels, std::vector<int32_t>& words);
// Its record but for line and file, from words that begin at `words_before` in the whole.
DocumentRecord record_of(std::span<const int32_t> document_words, int64_t length, int64_t words_before);
inline bool is_trained(std::span<const int32_t> document_words, int64_t length, int64_t token) {
  return (static_cast<uint32_t>(document_words[static_cast<size_t>(length + token / 32)]) >> (token % 32) & 1) != 0;
}
// Sets the bits of these ids, making room where needed.
void mark_used(std::span<const int32_t> ids, std::vector<uint64_t>& used);

// What is wrong with the arrays, "" where nothing is: documents one behind the other, every index in range, every count as the words
// say, ids below vocab_size.
// Reads all of it once; `passed` is called with words that will not be looked at again (their pages may go).
std::string check_store(const StoreView& store, int64_t files, int64_t vocab_size, void (*passed)(std::span<const std::byte>) = nullptr);

}  // namespace nibble::data
