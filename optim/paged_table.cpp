#include "optim/paged_table.h"

#include <fmt/format.h>

#include <stdexcept>

namespace nibble::optim {

PageTable::PageTable(const std::vector<PageRange>& ranges, int64_t frames) : frames_(frames) {
  if (!ranges.empty() && frames < 1) throw std::invalid_argument("a page table without frames");
  for (const PageRange& range : ranges) pages_.push_back({Page{range}, used_.end()});
  for (int64_t frame = frames; frame > 0; --frame) free_.push_back(frame - 1);
}

PageTable::Entry& PageTable::resident_entry(size_t page, const char* what) {
  Entry& entry = pages_.at(page);
  if (!entry.page.resident()) throw std::invalid_argument(fmt::format("page {} is to {} but is not resident", page, what));
  return entry;
}

std::vector<size_t> PageTable::oldest(int64_t count, const std::function<bool(const Page&)>& may_leave) const {
  std::vector<size_t> found;
  for (auto it = used_.begin(); it != used_.end() && static_cast<int64_t>(found.size()) < count; ++it) {
    if (may_leave(pages_[*it].page)) found.push_back(*it);
  }
  return found;
}

int64_t PageTable::free_frame(int64_t nth) const { return free_.at(free_.size() - 1 - static_cast<size_t>(nth)); }

void PageTable::arrive(size_t page) {
  Entry& entry = pages_.at(page);
  if (entry.page.resident() || free_.empty()) {
    throw std::invalid_argument(fmt::format("page {} arrives: {}", page, free_.empty() ? "no frame is free" : "it is here"));
  }
  entry.page.frame = free_.back();
  free_.pop_back();
  entry.page.dirty = false;
  entry.place = used_.insert(used_.end(), page);
  resident_bytes_ += entry.page.range.bytes;
}

void PageTable::leave(size_t page) {
  Entry& entry = resident_entry(page, "leave");
  free_.push_back(entry.page.frame);
  entry.page.frame = kNoFrame;
  entry.page.dirty = false;
  used_.erase(entry.place);
  resident_bytes_ -= entry.page.range.bytes;
}

void PageTable::use(size_t page) { used_.splice(used_.end(), used_, resident_entry(page, "be used").place); }

void PageTable::mark_written(size_t page) { resident_entry(page, "be written").page.dirty = true; }

void PageTable::mark_clean(size_t page) { resident_entry(page, "be clean").page.dirty = false; }

}  // namespace nibble::optim
