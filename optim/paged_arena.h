// All state of an optimizer in one arena of pages, under a budget that is never exceeded.
//
// The arena may be larger than the budget. Its pages lie at home (host memory or a file) and come where updates happen
// (the device; on a CPU, the process's resident memory) in time for them; the page used longest ago goes first. An update
// walks through the arena window by window (optim/paged_windows.h); while one is updated, the last one leaves and the next
// one arrives on a side stream. What the next step will use first is brought while backward still runs: prefetch_ahead().
// Nothing in a step waits on the host. The kind of memory is chosen by probing when the size is known, at reserve().
//
// Unlike paged optimizers elsewhere: no size below which a tensor is not paged, still paged after a resume (state is
// written through the arena), and everything is given back at the end. How it works: docs/paging.md.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "optim/paged_backend.h"
#include "optim/paged_choice.h"
#include "optim/paged_table.h"
#include "optim/paged_windows.h"
#include "optim/state_memory.h"

namespace nibble::optim {

// What moved since the start, and what is resident now.
struct PagingCounters {
  int64_t resident_bytes = 0;
  int64_t prefetched_bytes = 0;  // brought before they were needed
  int64_t demanded_bytes = 0;    // brought when they were needed: the update had to wait
  int64_t evicted_bytes = 0;
  int64_t written_bytes = 0;     // of what went home, what had been written here
};

class PagedArena final : public StateMemory {
 public:
  explicit PagedArena(PagedOptions options) : options_(std::move(options)) {}

  int64_t group_alignment_bytes() const override { return options_.page_bytes; }
  void reserve(const std::vector<StateGroup>& groups) override;
  StateWindow before_update(size_t first) override;
  void after_update(size_t first, size_t count) override;
  void read(int64_t offset, int64_t bytes, void* to) override;
  void write(int64_t offset, int64_t bytes, const void* from) override;

  // Backward has reached layer `layer`, on its way down to 0: brings a share of what the next update uses first, all of it
  // by layer 0. What would be used sooner is not evicted for it. REQUIRES no open window, layer >= 0
  void prefetch_ahead(int64_t layer);

  // Everything that was written is at home when this returns.
  void write_back();

  PagedMemory memory() const { return choice_.memory; }
  size_t windows() const { return windows_.size(); }
  int64_t arena_bytes() const { return arena_bytes_; }
  int64_t budget_bytes() const { return choice_.budget_bytes; }
  PagingCounters counters() const;
  std::string text() const;  // one line for people: size, kind of memory, budget, windows

 private:
  // Brings pages of a window that are not resident, `most` at most, evicting only what is used later than it. Returns how
  // many, and adds their bytes to `counter`.
  int64_t bring(size_t window, int64_t most, int64_t& counter);
  // Brings windows after `window`, up to the last, as far as there is room.
  void look_ahead(size_t window);
  void evict(const std::vector<size_t>& pages);
  // How many windows are updated before this one, from the next update on.
  size_t distance(size_t window) const { return (window + windows_.size() - next_window_) % windows_.size(); }
  PageMove move_of(size_t page, int64_t frame) const;
  std::vector<size_t> pages_where(bool (*holds)(const Page&)) const;
  void require_closed(const char* what) const;

  PagedOptions options_;
  PagedChoice choice_{PagedMemory::kHost, 0};
  int64_t arena_bytes_ = 0;
  std::vector<StateGroup> groups_;
  std::vector<PagedWindow> windows_;
  std::vector<size_t> window_of_group_;
  std::vector<size_t> first_page_;  // of each window, and one past the last page
  PageTable table_;
  std::unique_ptr<PageBackend> backend_;
  size_t next_window_ = 0;          // to be updated next, or being updated
  std::optional<size_t> open_;      // window
  PagingCounters counters_;
};

}  // namespace nibble::optim
