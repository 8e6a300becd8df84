#include "data/token_store.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <string>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

namespace nibble::data {
namespace {

constexpr int64_t kCheckedAtATime = int64_t{1} << 20;  // words

int64_t count_trained(std::span<const int32_t> document, int64_t length) {
  int64_t count = 0;
  for (int64_t w = length; w < length + flag_words(length); ++w) count += std::popcount(static_cast<uint32_t>(document[static_cast<size_t>(w)]));
  return count - is_trained(document, length, 0);
}

// Bits behind the last token would count as trained.
bool has_stray_bits(std::span<const int32_t> document, int64_t length) {
  return length % 32 != 0 && static_cast<uint32_t>(document.back()) >> (length % 32) != 0;
}

// `begin`: where the document before ends.
std::string check_record(const StoreView& store, size_t d, int64_t begin, int64_t files, int64_t vocab_size) {
  const DocumentRecord& record = store.records[d];
  const auto size = static_cast<int64_t>(store.words.size());
  if (record.length < 1 || record.first != begin || record.length + flag_words(record.length) > size - begin) {
    return fmt::format("document {} does not lie in the tokens", d);
  }
  if (record.file < 0 || record.file >= files || record.line < 0) return fmt::format("document {} names file {} of {}", d, record.file, files);
  const auto words = store.words.subspan(static_cast<size_t>(record.first), static_cast<size_t>(record.length + flag_words(record.length)));
  for (const int32_t id : words.first(static_cast<size_t>(record.length))) {
    if (id < 0 || id >= vocab_size) return fmt::format("document {} has the id {} of a vocabulary of {}", d, id, vocab_size);
  }
  if (has_stray_bits(words, record.length) || count_trained(words, record.length) != record.trained) {
    return fmt::format("document {} has other labels than it says", d);
  }
  return "";
}

std::string check_part(const StoreView& store, const PartView& part) {
  for (const int64_t record : part.documents) {
    if (record < 0 || record >= static_cast<int64_t>(store.records.size())) return fmt::format("a part lists document {} of {}", record, store.records.size());
  }
  if (part.rows.empty()) return part.row_documents.empty() ? "" : "documents of rows that are not there";
  const auto entries = static_cast<int64_t>(part.row_documents.size());
  if (part.rows.front().begin != 0 || part.rows.back().begin != entries) return "rows that do not cover their documents";
  for (size_t r = 0; r + 1 < part.rows.size(); ++r) {
    const int64_t begin = part.rows[r].begin, end = part.rows[r + 1].begin;
    if (end <= begin || end > entries) return fmt::format("row {} holds documents {} to {}", r, begin, end);
    int64_t tokens = 0, trained = 0;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t d = part.row_documents[static_cast<size_t>(i)];
      if (d < 0 || d >= static_cast<int64_t>(part.documents.size())) return fmt::format("row {} lists document {} of {}", r, d, part.documents.size());
      const DocumentRecord& record = store.records[static_cast<size_t>(part.documents[static_cast<size_t>(d)])];
      tokens += record.length;
      trained += record.trained;
    }
    if (tokens != part.rows[r].tokens || trained != part.rows[r].trained) return fmt::format("row {} has other tokens than it says", r);
  }
  return "";
}

}  // namespace

void append_document(std::span<const int32_t> ids, std::span<const int32_t> labels, std::vector<int32_t>& words) {
  words.insert(words.end(), ids.begin(), ids.end());
  for (size_t begin = 0; begin < labels.size(); begin += 32) {
    uint32_t flags = 0;
    const size_t end = std::min(labels.size(), begin + 32);
    for (size_t i = begin; i < end; ++i) flags |= static_cast<uint32_t>(labels[i] != kIgnoredLabel) << (i - begin);
    words.push_back(static_cast<int32_t>(flags));
  }
}

DocumentRecord record_of(std::span<const int32_t> document_words, int64_t length, int64_t words_before) {
  DocumentRecord record;
  record.first = words_before;
  record.length = static_cast<int32_t>(length);
  record.trained = static_cast<int32_t>(count_trained(document_words, length));
  const XXH128_hash_t hash = XXH3_128bits(document_words.data(), document_words.size_bytes());
  record.hash_low = hash.low64;
  record.hash_high = hash.high64;
  return record;
}

void mark_used(std::span<const int32_t> ids, std::vector<uint64_t>& used) {
  for (const int32_t id : ids) {
    const auto word = static_cast<size_t>(id) / 64;
    if (word >= used.size()) used.resize(std::max(word + 1, used.size() + used.size() / 2));
    used[word] |= uint64_t{1} << (id % 64);
  }
}

std::string check_store(const StoreView& store, int64_t files, int64_t vocab_size, void (*passed)(std::span<const std::byte>)) {
  int64_t at = 0, done = 0;  // words
  for (size_t d = 0; d < store.records.size(); ++d) {
    if (std::string wrong = check_record(store, d, at, files, vocab_size); !wrong.empty()) return wrong;
    at += store.records[d].length + flag_words(store.records[d].length);
    if (passed == nullptr || at < done + kCheckedAtATime) continue;
    passed(std::as_bytes(store.words.subspan(static_cast<size_t>(done), static_cast<size_t>(at - done))));
    done = at;
  }
  if (at != static_cast<int64_t>(store.words.size())) return "tokens that belong to no document";
  for (const PartView& part : store.parts) {
    if (std::string wrong = check_part(store, part); !wrong.empty()) return wrong;
  }
  return "";
}

}  // namespace nibble::data
