#include "data/dataset.h"

#include <fmt/core.h>

#include "core/error.h"
#include "core/mapped_pages.h"
#include "data/parts.h"

namespace nibble::data {
namespace {

struct MemoryStore {
  std::vector<int32_t> words;
  std::vector<DocumentRecord> records;
  std::vector<uint64_t> used;
  PartArrays part;
};

}  // namespace

Dataset::Dataset(const std::vector<Sample>& documents, int64_t capacity, bool packing, PackingStrategy strategy) {
  const auto memory = std::make_shared<MemoryStore>();
  for (const Sample& document : documents) {
    const auto length = static_cast<int64_t>(document.ids.size());
    if (length < 1 || length > capacity || document.labels.size() != document.ids.size()) {
      throw DataError(fmt::format("document {} has {} tokens and {} labels: a row holds 1 to {} tokens, with a label each", memory->records.size(),
                                  length, document.labels.size(), capacity));
    }
    const auto first = static_cast<int64_t>(memory->words.size());
    append_document(document.ids, document.labels, memory->words);
    memory->records.push_back(record_of(std::span(memory->words).subspan(static_cast<size_t>(first)), length, first));
    mark_used(document.ids, memory->used);
  }
  PartRules rules;
  rules.capacity = capacity;
  rules.packing = packing;
  rules.strategy = strategy;
  memory->part = std::move(make_parts(memory->records, rules)[0]);
  store_ = {memory->words, memory->records, memory->used, {memory->part.view(), {}}, {}};
  part_ = store_.parts[0];
  owner_ = memory;
  stats.examples = static_cast<int64_t>(documents.size());
  count_part(part_, stats);
}

Dataset::Dataset(std::shared_ptr<const void> owner, const StoreView& store, Part part, std::vector<std::string> files, bool mapped)
    : owner_(std::move(owner)),
      store_(store),
      part_(store.parts[static_cast<size_t>(part)]),
      files_(std::make_shared<const std::vector<std::string>>(std::move(files))),
      mapped_(mapped) {}

Sample Dataset::sample(int64_t document) const {
  const auto all = words(document);
  const int64_t tokens = length(document);
  Sample sample;
  sample.ids.assign(all.begin(), all.begin() + tokens);
  sample.labels = sample.ids;
  for (int64_t t = 0; t < tokens; ++t) {
    if (!data::is_trained(all, tokens, t)) sample.labels[static_cast<size_t>(t)] = kIgnoredLabel;
  }
  return sample;
}

std::string Dataset::place_of(const DocumentRecord& record) const {
  if (!files_ || static_cast<size_t>(record.file) >= files_->size()) return "";
  return Place{(*files_)[static_cast<size_t>(record.file)], record.line}.text();
}

void Dataset::release_pages() const {
  if (!mapped_) return;
  drop_pages(std::as_bytes(store_.words));
  drop_pages(std::as_bytes(store_.records));
  drop_pages(std::as_bytes(part_.documents));
  drop_pages(std::as_bytes(part_.rows));
  drop_pages(std::as_bytes(part_.row_documents));
}

}  // namespace nibble::data
