// What moves a paged arena's bytes: one interface, four kinds of memory. Which pages move and when is the arena's business
// (optim/paged_arena.h); here is how.
//
//   managed   unified memory; pages migrate between host and device by prefetch           optim/paged_managed.cpp
//   staged    pinned host memory, and device windows that pages are copied to and from    optim/paged_staged.cpp
//   host      ordinary memory, all of it resident                                         optim/paged_host.cpp
//   file      a file without a name, mapped; pages are the process's resident memory      optim/paged_file.cpp
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "gpu/module.h"

namespace nibble::optim {

// A page that comes or goes.
struct PageMove {
  int64_t begin, bytes;  // its range of the arena
  int64_t frame;
  size_t window;         // whose use it waits for when it goes
  bool dirty;            // where it goes: home has not what it holds
};

// How a page's resident copy and its home are related.
enum class Residency : uint8_t {
  kSame,    // one memory; home always shows what was written
  kMoves,   // a page is in one of two places
  kCopies,  // a resident page is a copy, its home stays
};

// Moves and waits are queued in the order of the calls; none of them blocks but finish(), read() and write() (and evict()
// of files, which has to wait for the disk). THROWS CudaError or IoError, any of them.
class PageBackend {
 public:
  virtual ~PageBackend() = default;
  virtual Residency residency() const = 0;

  virtual void bring(std::span<const PageMove> pages) = 0;
  virtual void evict(std::span<const PageMove> pages) = 0;
  // Copies dirty pages home; they stay resident. Only for kCopies.
  virtual void write_back(std::span<const PageMove> pages) = 0;
  // All moves that were queued are done.
  virtual void finish() = 0;

  // Work that is queued next sees what bring() queued for the window.
  virtual void before_use(size_t window) = 0;
  // Work on the window is queued; its pages may go after it.
  virtual void after_use(size_t window) = 0;
  // Where the arena's byte `offset`, on a page in `frame` that begins at `page_begin`, is used.
  virtual std::byte* address(int64_t offset, int64_t page_begin, int64_t frame) const = 0;

  // The arena's bytes at home, by the caller's thread.
  virtual void read(int64_t offset, int64_t bytes, void* to) = 0;
  virtual void write(int64_t offset, int64_t bytes, const void* from) = 0;
};

// Each makes room for the whole arena, filled with zeros, no page resident. `windows` is their number.
// THROWS CudaError, IoError, OutOfMemoryError; nothing is left behind then.
std::unique_ptr<PageBackend> make_managed_backend(const gpu::Queue& queue, int device, int64_t arena_bytes, size_t windows,
                                                  int64_t page_bytes);
std::unique_ptr<PageBackend> make_staged_backend(const gpu::Queue& queue, int64_t arena_bytes, size_t windows, int64_t frames,
                                                 int64_t frame_bytes);
std::unique_ptr<PageBackend> make_host_backend(int64_t arena_bytes);
std::unique_ptr<PageBackend> make_file_backend(int64_t arena_bytes, const std::filesystem::path& folder);

}  // namespace nibble::optim
