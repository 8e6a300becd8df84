// Where an optimizer's state lies: the seam between an optimizer and the memory behind it, plain or paged.
//
// The state is one arena, addressed by byte offset. It is cut into groups, one a layer of the model, which lie one after
// another. An update walks through the groups in ascending order, a window of neighbouring groups at a time:
//
//     for (first = 0; first < groups; first += window.groups) {
//       window = memory.before_update(first);          // these groups are there now
//       ... the loop or the launch that updates them ...
//       memory.after_update(first, window.groups);     // they were written; may leave again
//     }
//
// Memory that holds everything answers with one window, so that an update is one launch; paged memory answers with what
// its budget allows, and has the next groups moved meanwhile. Nothing here waits for a device but read() and write().
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nibble::optim {

// A layer's state: a range of the arena. Groups ascend and do not overlap.
struct StateGroup {
  int64_t offset;  // bytes; a multiple of group_alignment_bytes()
  int64_t bytes;   // > 0
};

// Where groups first .. first + groups - 1 can be reached until after_update(): at `address`, with the distances that they
// have in the arena. Device memory where the memory was made for a gpu::Queue, and then valid for work on its stream.
struct StateWindow {
  std::byte* address;  // of the first group's first byte; aligned to 64 bytes
  size_t groups;       // >= 1
};

class StateMemory {
 public:
  virtual ~StateMemory() = default;

  // Where groups may begin: a power of two, at least 64.
  virtual int64_t group_alignment_bytes() const { return 64; }

  // Makes room for the groups and fills it with zeros. Called once, before all that follows; `groups` may be empty.
  // THROWS OutOfMemoryError, CudaError, IoError
  virtual void reserve(const std::vector<StateGroup>& groups) = 0;

  // Makes group `first`, and as many after it as it likes, ready to be read and written. REQUIRES first < groups, and
  // no other window open. THROWS CudaError
  virtual StateWindow before_update(size_t first) = 0;
  // The update of a window is done (CPU) or queued on the stream (device). THROWS CudaError
  virtual void after_update(size_t first, size_t count) = 0;

  // Copies a range of the arena to ordinary host memory, or from it, after all queued updates: for checkpoints. The range
  // may span groups. REQUIRES no open window. THROWS CudaError, IoError
  virtual void read(int64_t offset, int64_t bytes, void* to) = 0;
  virtual void write(int64_t offset, int64_t bytes, const void* from) = 0;
};

}  // namespace nibble::optim
