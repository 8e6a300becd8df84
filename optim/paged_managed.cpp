// Paged state in unified memory: one managed allocation whose pages migrate by prefetch on the side stream.
//
// The host is the arena's preferred location: a page comes to the device because the arena brought it, never because a
// kernel touched it, and so the budget is the arena's to keep. What was not brought would be read across the bus.
#include <cstring>

#include "optim/paged_backend.h"
#include "optim/paged_move_queue.h"

namespace nibble::optim {
namespace {

class ManagedBackend final : public PageBackend {
 public:
  ManagedBackend(const gpu::Queue& queue, int device, int64_t arena_bytes, size_t windows, int64_t page_bytes)
      : device_(device),
        // The driver keeps managed memory in blocks of 2 MiB; pages on their borders are whole ones of its own.
        memory_(queue.module->runtime->allocate_managed(arena_bytes + page_bytes), queue.module->runtime->release),
        moves_(queue, windows) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.get());
    const auto align = static_cast<uintptr_t>(page_bytes);
    base_ = static_cast<std::byte*>(memory_.get()) + ((address + align - 1) / align * align - address);
    moves_.runtime().prefer(base_, arena_bytes, gpu::kHost);
    std::memset(base_, 0, static_cast<size_t>(arena_bytes));  // by the host: that is where the pages begin
  }

  Residency residency() const override { return Residency::kMoves; }

  void bring(std::span<const PageMove> pages) override {
    prefetch(pages, device_);
    for (size_t i = 0; i < pages.size(); ++i) {
      if (i + 1 == pages.size() || pages[i + 1].window != pages[i].window) moves_.arrived(pages[i].window);
    }
  }

  // A clean page moves too: there is no other copy of it.
  void evict(std::span<const PageMove> pages) override {
    for (const PageMove& page : pages) moves_.before_leaving(page.window);
    prefetch(pages, gpu::kHost);
  }

  void write_back(std::span<const PageMove> pages) override { evict(pages); }
  void finish() override { moves_.finish(); }
  void before_use(size_t window) override { moves_.before_use(window); }
  void after_use(size_t window) override { moves_.after_use(window); }
  std::byte* address(int64_t offset, int64_t, int64_t) const override { return base_ + offset; }
  void read(int64_t offset, int64_t bytes, void* to) override { std::memcpy(to, base_ + offset, static_cast<size_t>(bytes)); }
  void write(int64_t offset, int64_t bytes, const void* from) override {
    std::memcpy(base_ + offset, from, static_cast<size_t>(bytes));
  }

 private:
  // Neighbouring pages in one call: a call costs the host as much as a page costs the bus.
  void prefetch(std::span<const PageMove> pages, int location) {
    for (size_t i = 0; i < pages.size();) {
      const int64_t begin = pages[i].begin;
      int64_t end = begin + pages[i].bytes;
      for (++i; i < pages.size() && pages[i].begin == end; ++i) end += pages[i].bytes;
      moves_.runtime().prefetch(base_ + begin, end - begin, location, moves_.stream());
    }
  }

  int device_;
  CudaOwned memory_;
  MoveQueue moves_;  // after the memory: it is destroyed first, and waits for what still uses the memory
  std::byte* base_ = nullptr;
};

}  // namespace

std::unique_ptr<PageBackend> make_managed_backend(const gpu::Queue& queue, int device, int64_t arena_bytes, size_t windows,
                                                  int64_t page_bytes) {
  return std::make_unique<ManagedBackend>(queue, device, arena_bytes, windows, page_bytes);
}

}  // namespace nibble::optim
