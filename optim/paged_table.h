// The page table of a paged arena: which pages are resident, in which frame, written since they came, and in what order
// they were last used. Bookkeeping only: it owns no memory and moves nothing.
//
// There are as many frames as the budget allows, so that what is resident cannot exceed it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <vector>

#include "optim/paged_windows.h"

namespace nibble::optim {

inline constexpr int64_t kNoFrame = -1;

struct Page {
  PageRange range;
  int64_t frame = kNoFrame;  // where it is resident
  bool dirty = false;        // written since it came, or since it was last written back
  bool resident() const { return frame != kNoFrame; }
};

class PageTable {
 public:
  PageTable() = default;
  // All pages are out. REQUIRES frames >= 1 where there are pages.
  PageTable(const std::vector<PageRange>& ranges, int64_t frames);

  size_t size() const { return pages_.size(); }
  const Page& operator[](size_t page) const { return pages_[page].page; }
  int64_t frames() const { return frames_; }
  int64_t free_frames() const { return static_cast<int64_t>(free_.size()); }
  int64_t resident_bytes() const { return resident_bytes_; }

  // At most `count` resident pages that may leave, the one used longest ago first.
  std::vector<size_t> oldest(int64_t count, const std::function<bool(const Page&)>& may_leave) const;
  // The frame that the `nth` next arrival gets. REQUIRES nth < free_frames()
  int64_t free_frame(int64_t nth) const;

  // The page takes the next free frame, is clean, and counts as used now.
  void arrive(size_t page);
  void leave(size_t page);
  void use(size_t page);
  void mark_written(size_t page);
  void mark_clean(size_t page);

 private:
  struct Entry {
    Page page;
    std::list<size_t>::iterator place;  // in used_, while resident
  };
  Entry& resident_entry(size_t page, const char* what);

  std::vector<Entry> pages_;
  std::list<size_t> used_;      // resident pages, the one used longest ago first
  std::vector<int64_t> free_;   // frames, the next one last
  int64_t frames_ = 0;
  int64_t resident_bytes_ = 0;
};

}  // namespace nibble::optim
