#include "data/repeats.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>

namespace nibble::data {
namespace {

// Records by their hashes, in a table of open addressing: 16 to 32 bytes a record.
class RecordIndex {
 public:
  explicit RecordIndex(size_t most) : slots_(std::bit_ceil(std::max<size_t>(2 * most, 2)), nullptr) {}

  // The record with the same tokens that was added first; null: there is none.
  const DocumentRecord* find(const DocumentRecord& record) const { return slots_[slot(record)]; }
  // As find; where there is none, this one is it from now on.
  const DocumentRecord* add(const DocumentRecord& record) {
    const DocumentRecord*& place = slots_[slot(record)];
    if (place != nullptr) return place;
    place = &record;
    return nullptr;
  }

 private:
  // Where the record is, or would go. At most half of the slots are taken, so there is a free one.
  size_t slot(const DocumentRecord& record) const {
    size_t at = record.hash_low & (slots_.size() - 1);
    while (slots_[at] != nullptr && !slots_[at]->same_tokens(record)) at = (at + 1) & (slots_.size() - 1);
    return at;
  }

  std::vector<const DocumentRecord*> slots_;
};

}  // namespace

Repeats find_duplicates(std::span<const DocumentRecord> records) {
  Repeats repeats;
  RecordIndex index(records.size());
  for (const DocumentRecord& record : records) {
    const DocumentRecord* earlier = index.add(record);
    if (earlier == nullptr) continue;
    if (repeats.count++ < kFindingsOfAKind) repeats.first.push_back({{earlier->file, earlier->line}, {record.file, record.line}});
  }
  return repeats;
}

SharedDocuments find_shared(const Dataset& train, const Dataset& validation) {
  SharedDocuments shared;
  // Validation is the smaller one, as a rule: it goes into the table, and training passes by.
  RecordIndex index(static_cast<size_t>(validation.documents()));
  RecordIndex found(static_cast<size_t>(validation.documents()));
  for (int64_t d = 0; d < validation.documents(); ++d) index.add(validation.record(d));
  for (int64_t d = 0; d < train.documents(); ++d) {
    const DocumentRecord* there = index.find(train.record(d));
    if (there == nullptr || found.add(*there) != nullptr) continue;
    if (shared.count++ >= kFindingsOfAKind) continue;
    shared.places.push_back(fmt::format("{} is {}", validation.place_of(*there), train.place(d)));
  }
  return shared;
}

}  // namespace nibble::data
