// How a paged arena is cut: groups into windows that are updated together, windows into the pages that come and go.
//
// A window is a run of neighbouring groups. Where the budget holds the whole arena there is one window, so that an update
// is one launch. Otherwise a window takes at most half of the budget: the other half is where the next window arrives and
// the last one leaves meanwhile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "optim/state_memory.h"

namespace nibble::optim {

// What managed memory moves at the least, and the largest page that a CPU maps (Arm).
inline constexpr int64_t kSmallestPageBytes = 64 << 10;

struct PagedWindow {
  size_t first_group, groups;
  int64_t begin, bytes;       // its range of the arena; begin is a page boundary
};

// A part of the arena that moves as one. The last of a group is shorter than a page.
struct PageRange {
  int64_t begin, bytes;
  size_t window;
};

// Windows that fit `budget_bytes`, in pages of `page_bytes`.
// REQUIRES groups ascending and on page boundaries, page_bytes a power of two; THROWS std::invalid_argument if not.
// THROWS OutOfMemoryError, with the least budget that would do, where one group is larger than the budget.
std::vector<PagedWindow> plan_windows(const std::vector<StateGroup>& groups, int64_t page_bytes, int64_t budget_bytes);

// Pages of at most `page_bytes`, none across a border of groups.
std::vector<PageRange> cut_pages(const std::vector<PagedWindow>& windows, const std::vector<StateGroup>& groups,
                                 int64_t page_bytes);

// One page a window, for memory in which a window must lie in one piece.
std::vector<PageRange> whole_windows(const std::vector<PagedWindow>& windows);

}  // namespace nibble::optim
