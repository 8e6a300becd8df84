#include "optim/paged_arena.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "core/error.h"
#include "core/round_up.h"

namespace nibble::optim {
namespace {

constexpr int64_t kAll = INT64_MAX;

// A frame for staging takes any window.
int64_t frame_bytes_for(const std::vector<PagedWindow>& windows, int64_t page_bytes) {
  int64_t largest = 0;
  for (const PagedWindow& window : windows) largest = std::max(largest, window.bytes);
  return round_up(largest, page_bytes);
}

}  // namespace

void PagedArena::reserve(const std::vector<StateGroup>& groups) {
  if (backend_) throw std::invalid_argument("a paged arena is reserved once");
  if (groups.empty()) return;
  arena_bytes_ = groups.back().offset + groups.back().bytes;
  choice_ = choose_paged_memory(options_, arena_bytes_);
  const int64_t page_bytes = options_.page_bytes;
  windows_ = plan_windows(groups, page_bytes, choice_.budget_bytes);
  std::vector<PageRange> pages = cut_pages(windows_, groups, page_bytes);
  int64_t frames = choice_.budget_bytes / page_bytes;
  switch (choice_.memory) {
    case PagedMemory::kManaged:
      backend_ = make_managed_backend(options_.queue, options_.device, arena_bytes_, windows_.size(), page_bytes);
      break;
    case PagedMemory::kStaged: {
      pages = whole_windows(windows_);
      const int64_t frame_bytes = frame_bytes_for(windows_, page_bytes);
      frames = std::min(choice_.budget_bytes / frame_bytes, static_cast<int64_t>(windows_.size()));
      backend_ = make_staged_backend(options_.queue, arena_bytes_, windows_.size(), frames, frame_bytes);
      break;
    }
    case PagedMemory::kHost:
      backend_ = make_host_backend(arena_bytes_);
      break;
    case PagedMemory::kFile:
      backend_ = make_file_backend(arena_bytes_, options_.folder);
      break;
  }
  table_ = PageTable(pages, frames);
  groups_ = groups;
  for (size_t w = 0; w < windows_.size(); ++w) window_of_group_.insert(window_of_group_.end(), windows_[w].groups, w);
  first_page_.assign(windows_.size() + 1, pages.size());
  for (size_t page = pages.size(); page-- > 0;) first_page_[pages[page].window] = page;
}

PageMove PagedArena::move_of(size_t page, int64_t frame) const {
  const Page& p = table_[page];
  return {p.range.begin, p.range.bytes, frame, p.range.window, p.dirty};
}

std::vector<size_t> PagedArena::pages_where(bool (*holds)(const Page&)) const {
  std::vector<size_t> found;
  for (size_t page = 0; page < table_.size(); ++page) {
    if (holds(table_[page])) found.push_back(page);
  }
  return found;
}

void PagedArena::require_closed(const char* what) const {
  if (!backend_) throw std::invalid_argument(fmt::format("{} of a paged arena without groups", what));
  if (open_) throw std::invalid_argument(fmt::format("{} of a paged arena while window {} is being updated", what, *open_));
}

void PagedArena::evict(const std::vector<size_t>& pages) {
  if (pages.empty()) return;
  std::vector<PageMove> moves;
  for (const size_t page : pages) moves.push_back(move_of(page, table_[page].frame));
  backend_->evict(moves);
  for (const size_t page : pages) {
    counters_.evicted_bytes += table_[page].range.bytes;
    if (table_[page].dirty) counters_.written_bytes += table_[page].range.bytes;
    table_.leave(page);
  }
}

int64_t PagedArena::bring(size_t window, int64_t most, int64_t& counter) {
  std::vector<size_t> missing;
  for (size_t page = first_page_[window]; page < first_page_[window + 1]; ++page) {
    if (!table_[page].resident() && static_cast<int64_t>(missing.size()) < most) missing.push_back(page);
  }
  if (missing.empty()) return 0;
  const size_t needed_at = distance(window);
  const int64_t short_of = static_cast<int64_t>(missing.size()) - table_.free_frames();
  // First all that leave, then all that arrive, in the order of the side stream: never more than the budget is resident.
  evict(table_.oldest(std::max(short_of, int64_t{0}),
                      [&](const Page& page) { return distance(page.range.window) > needed_at; }));
  missing.resize(std::min(missing.size(), static_cast<size_t>(table_.free_frames())));
  if (missing.empty()) return 0;
  std::vector<PageMove> moves;
  for (size_t i = 0; i < missing.size(); ++i) moves.push_back(move_of(missing[i], table_.free_frame(static_cast<int64_t>(i))));
  backend_->bring(moves);
  for (const size_t page : missing) {
    table_.arrive(page);
    counter += table_[page].range.bytes;
  }
  return static_cast<int64_t>(missing.size());
}

void PagedArena::look_ahead(size_t window) {
  for (size_t next = window + 1; next < windows_.size(); ++next) {
    bring(next, kAll, counters_.prefetched_bytes);
    if (!table_[first_page_[next + 1] - 1].resident()) return;  // no room for the whole of it
  }
}

StateWindow PagedArena::before_update(size_t first) {
  require_closed("update");
  const size_t window = window_of_group_.at(first);
  next_window_ = window;
  bring(window, kAll, counters_.demanded_bytes);
  for (size_t page = first_page_[window]; page < first_page_[window + 1]; ++page) table_.use(page);
  backend_->before_use(window);
  open_ = window;
  look_ahead(window);
  const Page& page = table_[first_page_[window]];
  return {backend_->address(groups_[first].offset, page.range.begin, page.frame),
          windows_[window].first_group + windows_[window].groups - first};
}

void PagedArena::after_update(size_t first, size_t count) {
  if (!open_ || window_of_group_.at(first) != *open_ || count < 1 ||
      first + count > windows_[*open_].first_group + windows_[*open_].groups) {
    throw std::invalid_argument(fmt::format("the end of an update of {} groups from {} on that did not begin", count, first));
  }
  const size_t window = *open_;
  for (size_t page = first_page_[window]; page < first_page_[window + 1]; ++page) table_.mark_written(page);
  backend_->after_use(window);
  open_.reset();
  if (first + count == windows_[window].first_group + windows_[window].groups) next_window_ = (window + 1) % windows_.size();
  look_ahead(window);
}

void PagedArena::prefetch_ahead(int64_t layer) {
  if (groups_.empty()) return;
  require_closed("prefetch");
  if (layer < 0) throw std::invalid_argument(fmt::format("prefetch ahead of layer {}", layer));
  // What there are frames for, from the next window on, and how much of it is out.
  int64_t frames = table_.frames(), out = 0;
  for (size_t d = 0; d < windows_.size() && frames > 0; ++d) {
    const size_t window = (next_window_ + d) % windows_.size();
    for (size_t page = first_page_[window]; page < first_page_[window + 1] && frames > 0; ++page, --frames) {
      if (!table_[page].resident()) ++out;
    }
  }
  int64_t share = (out + layer) / (layer + 1);
  for (size_t d = 0; d < windows_.size() && share > 0; ++d) {
    const size_t window = (next_window_ + d) % windows_.size();
    share -= bring(window, share, counters_.prefetched_bytes);
  }
}

void PagedArena::write_back() {
  if (groups_.empty()) return;
  require_closed("writing back");
  switch (backend_->residency()) {
    case Residency::kSame:
      break;
    case Residency::kMoves:  // the clean ones as well: the host cannot read them where they are
      evict(pages_where([](const Page& page) { return page.resident(); }));
      break;
    case Residency::kCopies: {
      const std::vector<size_t> dirty = pages_where([](const Page& page) { return page.dirty; });
      std::vector<PageMove> moves;
      for (const size_t page : dirty) moves.push_back(move_of(page, table_[page].frame));
      backend_->write_back(moves);
      for (const size_t page : dirty) {
        counters_.written_bytes += table_[page].range.bytes;
        table_.mark_clean(page);
      }
      break;
    }
  }
  backend_->finish();
}

void PagedArena::read(int64_t offset, int64_t bytes, void* to) {
  if (bytes == 0) return;
  require_closed("reading");
  write_back();
  backend_->read(offset, bytes, to);
}

void PagedArena::write(int64_t offset, int64_t bytes, const void* from) {
  if (bytes == 0) return;
  require_closed("writing");
  write_back();
  if (backend_->residency() == Residency::kCopies) {
    std::vector<size_t> stale;
    for (size_t page = 0; page < table_.size(); ++page) {
      const PageRange& range = table_[page].range;
      if (table_[page].resident() && range.begin < offset + bytes && offset < range.begin + range.bytes) stale.push_back(page);
    }
    evict(stale);  // clean: they are dropped
  }
  backend_->write(offset, bytes, from);
}

PagingCounters PagedArena::counters() const {
  PagingCounters counters = counters_;
  counters.resident_bytes = table_.resident_bytes();
  return counters;
}

std::string PagedArena::text() const {
  const auto mib = [](int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  return fmt::format("{:.1f} MiB of optimizer state in {} memory, {:.1f} MiB of it resident at most, updated in {} window{}",
                     mib(arena_bytes_), paged_memory_name(choice_.memory), mib(std::min(choice_.budget_bytes, arena_bytes_)),
                     windows_.size(), windows_.size() == 1 ? "" : "s");
}

}  // namespace nibble::optim
