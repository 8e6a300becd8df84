#include "optim/paged_windows.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "core/error.h"
#include "core/round_up.h"

namespace nibble::optim {
namespace {

void check(const std::vector<StateGroup>& groups, int64_t page_bytes) {
  if (page_bytes < kSmallestPageBytes || (page_bytes & (page_bytes - 1)) != 0) {
    throw std::invalid_argument(fmt::format("pages of {} bytes: a power of two from {} on is needed", page_bytes,
                                            kSmallestPageBytes));
  }
  int64_t end = 0;
  for (const StateGroup& group : groups) {
    if (group.offset < end || group.offset % page_bytes != 0 || group.bytes <= 0) {
      throw std::invalid_argument(fmt::format("state group at byte {} of {} bytes: groups ascend and begin at multiples of {}",
                                              group.offset, group.bytes, page_bytes));
    }
    end = group.offset + group.bytes;
  }
}

}  // namespace

std::vector<PagedWindow> plan_windows(const std::vector<StateGroup>& groups, int64_t page_bytes, int64_t budget_bytes) {
  check(groups, page_bytes);
  int64_t total = 0, largest = 0;
  for (const StateGroup& group : groups) {
    const int64_t pages = ceil_div(group.bytes, page_bytes);
    total += pages;
    largest = std::max(largest, pages);
  }
  const int64_t frames = budget_bytes / page_bytes;
  if (largest > frames) {
    throw OutOfMemoryError(fmt::format(
        "the optimizer state of one layer takes {} MiB, but the budget for paged state is {} MiB; raise paged_budget_mib to {} "
        "(twice as much lets pages move while others are updated), lower lora_r, or use an 8-bit optimizer",
        (largest * page_bytes) >> 20, budget_bytes >> 20, ((largest * page_bytes) + (1 << 20) - 1) >> 20));
  }
  // In pages of the arena: gaps between groups count, since a window lies in one piece.
  const int64_t most = total <= frames ? frames : std::max(frames / 2, int64_t{1});
  std::vector<PagedWindow> windows;
  for (size_t i = 0; i < groups.size(); ++i) {
    const int64_t end = groups[i].offset + groups[i].bytes;
    if (!windows.empty() && ceil_div(end - windows.back().begin, page_bytes) <= most) {
      windows.back().groups += 1;
      windows.back().bytes = end - windows.back().begin;
    } else {
      windows.push_back({i, 1, groups[i].offset, groups[i].bytes});
    }
  }
  return windows;
}

std::vector<PageRange> cut_pages(const std::vector<PagedWindow>& windows, const std::vector<StateGroup>& groups,
                                 int64_t page_bytes) {
  std::vector<PageRange> pages;
  for (size_t w = 0; w < windows.size(); ++w) {
    for (size_t g = windows[w].first_group; g < windows[w].first_group + windows[w].groups; ++g) {
      for (int64_t at = 0; at < groups[g].bytes; at += page_bytes) {
        pages.push_back({groups[g].offset + at, std::min(page_bytes, groups[g].bytes - at), w});
      }
    }
  }
  return pages;
}

std::vector<PageRange> whole_windows(const std::vector<PagedWindow>& windows) {
  std::vector<PageRange> pages;
  for (size_t w = 0; w < windows.size(); ++w) pages.push_back({windows[w].begin, windows[w].bytes, w});
  return pages;
}

}  // namespace nibble::optim
