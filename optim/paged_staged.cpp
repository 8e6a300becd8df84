// Paged state in pinned host memory, copied to and from device windows on the side stream: where the driver cannot migrate
// pages on its own (concurrentManagedAccess 0: WSL, Windows).
//
// A page is a whole window here, since work on a window needs it in one piece; with two frames or more, one window is
// updated while another is copied.
#include <cstring>

#include "optim/paged_backend.h"
#include "optim/paged_move_queue.h"

namespace nibble::optim {
namespace {

class StagedBackend final : public PageBackend {
 public:
  StagedBackend(const gpu::Queue& queue, int64_t arena_bytes, size_t windows, int64_t frames, int64_t frame_bytes)
      : frame_bytes_(frame_bytes),
        home_(queue.module->runtime->allocate_pinned(arena_bytes), queue.module->runtime->release_pinned),
        device_(queue.module->runtime->allocate(frames * frame_bytes), queue.module->runtime->release),
        moves_(queue, windows) {
    std::memset(home_.get(), 0, static_cast<size_t>(arena_bytes));
  }

  Residency residency() const override { return Residency::kCopies; }

  void bring(std::span<const PageMove> pages) override {
    for (const PageMove& page : pages) {
      moves_.runtime().copy(frame(page.frame), home(page.begin), page.bytes, moves_.stream());
      moves_.arrived(page.window);
    }
  }

  // A clean page is dropped, but its frame is still not free before the work that reads it is done.
  void evict(std::span<const PageMove> pages) override {
    for (const PageMove& page : pages) {
      moves_.before_leaving(page.window);
      if (page.dirty) copy_home(page);
    }
  }

  void write_back(std::span<const PageMove> pages) override {
    for (const PageMove& page : pages) {
      moves_.before_leaving(page.window);
      copy_home(page);
    }
  }

  void finish() override { moves_.finish(); }
  void before_use(size_t window) override { moves_.before_use(window); }
  void after_use(size_t window) override { moves_.after_use(window); }
  std::byte* address(int64_t offset, int64_t page_begin, int64_t page_frame) const override {
    return frame(page_frame) + (offset - page_begin);
  }
  void read(int64_t offset, int64_t bytes, void* to) override { std::memcpy(to, home(offset), static_cast<size_t>(bytes)); }
  void write(int64_t offset, int64_t bytes, const void* from) override {
    std::memcpy(home(offset), from, static_cast<size_t>(bytes));
  }

 private:
  std::byte* home(int64_t offset) const { return static_cast<std::byte*>(home_.get()) + offset; }
  std::byte* frame(int64_t number) const { return static_cast<std::byte*>(device_.get()) + number * frame_bytes_; }
  void copy_home(const PageMove& page) {
    moves_.runtime().copy(home(page.begin), frame(page.frame), page.bytes, moves_.stream());
  }

  int64_t frame_bytes_;
  CudaOwned home_, device_;
  MoveQueue moves_;  // after the memory: it is destroyed first, and waits for what still uses the memory
};

}  // namespace

std::unique_ptr<PageBackend> make_staged_backend(const gpu::Queue& queue, int64_t arena_bytes, size_t windows, int64_t frames,
                                                 int64_t frame_bytes) {
  return std::make_unique<StagedBackend>(queue, arena_bytes, windows, frames, frame_bytes);
}

}  // namespace nibble::optim
