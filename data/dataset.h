// A dataset ready to train on: token ids and labels of every document, and the rows they are packed into.
//
//   files -> rows (row_stream) -> checked content (json_row, row_schema) -> text (template) -> ids (tokenizer) -> cache file -> Dataset
//
// A Dataset is a view of a mapped cache file (data/cache_file.h), or of arrays in memory: copying one copies no token, and data may
// be larger than memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/dataset_stats.h"
#include "data/sample.h"
#include "data/token_store.h"
#include "schema/enums.h"

namespace nibble::data {

class Dataset {
 public:
  Dataset() = default;
  // Takes documents as they are, into memory. capacity: the longest row. THROWS DataError where a document is longer or empty.
  Dataset(const std::vector<Sample>& documents, int64_t capacity, bool packing, PackingStrategy strategy = PackingStrategy::kFfd);
  // A part of a store that `owner` keeps there. `mapped`: its bytes are a file's, whose pages may go. REQUIRES check_store found nothing.
  Dataset(std::shared_ptr<const void> owner, const StoreView& store, Part part, std::vector<std::string> files, bool mapped);

  // Of an epoch: a document that weighs 2 counts as two.
  int64_t documents() const { return static_cast<int64_t>(part_.documents.size()); }
  std::span<const int32_t> ids(int64_t document) const { return words(document).first(static_cast<size_t>(length(document))); }
  int64_t length(int64_t document) const { return record(document).length; }    // tokens
  int64_t trained(int64_t document) const { return record(document).trained; }  // labels that count
  bool is_trained(int64_t document, int64_t token) const { return data::is_trained(words(document), length(document), token); }
  Sample sample(int64_t document) const;           // a copy of ids and labels, the first label as it was given
  std::string place(int64_t document) const { return place_of(record(document)); }
  std::string place_of(const DocumentRecord& record) const;  // "FILE:LINE"; "" of documents that were in no file
  const DocumentRecord& record(int64_t document) const { return store_.records[static_cast<size_t>(part_.documents[static_cast<size_t>(document)])]; }

  int64_t rows() const { return part_.rows.empty() ? 0 : static_cast<int64_t>(part_.rows.size()) - 1; }
  // Documents, in the order they are laid.
  std::span<const int64_t> row(int64_t row) const {
    const auto begin = static_cast<size_t>(part_.rows[static_cast<size_t>(row)].begin), end = static_cast<size_t>(part_.rows[static_cast<size_t>(row) + 1].begin);
    return part_.row_documents.subspan(begin, end - begin);
  }
  int64_t row_tokens(int64_t row) const { return part_.rows[static_cast<size_t>(row)].tokens; }
  int64_t row_trained(int64_t row) const { return part_.rows[static_cast<size_t>(row)].trained; }

  // Bit i of word i / 64: token i is in a document of the whole store, of which this may be a part.
  std::span<const uint64_t> used_ids() const { return store_.used_ids; }

  // Lets the pages of a mapped file go from this process's memory: what is read again comes from the system's page cache.
  void release_pages() const;

  DatasetStats stats;

 private:
  std::span<const int32_t> words(int64_t document) const {
    const DocumentRecord& r = record(document);
    return store_.words.subspan(static_cast<size_t>(r.first), static_cast<size_t>(r.length + flag_words(r.length)));
  }

  std::shared_ptr<const void> owner_;
  StoreView store_;
  PartView part_;
  std::shared_ptr<const std::vector<std::string>> files_;
  bool mapped_ = false;
};

}  // namespace nibble::data
