// How arenas cut memory: the places of a stack of takes in large blocks, in sizes alone. nn/arena.h puts memory under it; the
// memory plan follows a step take by take without any (trainer/step_memory.h), so its sums are those of a run, to the byte.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/round_up.h"

namespace nibble::nn {

inline constexpr int64_t kArenaAlignment = 64;                // a cache line, and what AVX-512 loads like
inline constexpr int64_t kArenaMinBlock = int64_t{16} << 20;
inline constexpr int64_t kArenaPage = int64_t{2} << 20;       // blocks start and end on pages of this size, which some systems give unasked

// Blocks without memory.
struct NoBlocks {
  void push(int64_t) {}
  void pop() {}
};

// A stack of bytes. Blocks are kept when it shrinks and never move; only a block that is empty and too small gives way.
class BlockStack {
 public:
  struct Mark {
    size_t block = 0;
    int64_t used = 0;
  };
  // Where a take lies.
  struct Spot {
    size_t block = 0;
    int64_t begin = 0, end = 0;  // within it, padding included
  };

  // Makes the first block, as large as the whole use will be; no effect where there are blocks.
  template <class Blocks>
  void reserve(int64_t bytes, Blocks&& blocks) {
    if (sizes_.empty() && bytes > 0) push(round_up(bytes, kArenaPage), blocks);
  }

  // `blocks` holds the memory: push(bytes) makes one block more and may throw, which leaves the stack as it was in all but the
  // ends of blocks that were passed by; pop() gives back the last.
  template <class Blocks>
  Spot take(int64_t bytes, Blocks&& blocks) {
    const int64_t size = round_up(std::max<int64_t>(bytes, 1), kArenaAlignment);
    while (top_.block < sizes_.size() && top_.used + size > sizes_[top_.block]) {
      // A block that was made for a smaller shape and is still empty gives way to one that is large enough.
      if (top_.used == 0 && top_.block + 1 == sizes_.size()) {
        blocks.pop();
        sizes_.pop_back();
        break;
      }
      used_.resize(std::max(used_.size(), top_.block + 1));
      used_[top_.block] = top_.used;
      top_ = {top_.block + 1, 0};
    }
    if (top_.block == sizes_.size()) push(round_up(std::max(size, kArenaMinBlock), kArenaPage), blocks);
    const Spot spot{top_.block, top_.used, top_.used + size};
    top_.used = spot.end;
    in_use_ += size;
    peak_ = std::max(peak_, in_use_);
    phase_peak_ = std::max(phase_peak_, in_use_);
    return spot;
  }

  // Without memory.
  Spot take(int64_t bytes) { return take(bytes, NoBlocks()); }
  void reserve(int64_t bytes) { reserve(bytes, NoBlocks()); }

  Mark mark() const { return top_; }
  void release(const Mark& mark);

  // Where the stack stands, and all that it takes to come back there while the blocks are the same.
  struct State {
    Mark top;
    int64_t in_use = 0;
    std::vector<int64_t> used;
  };
  State state() const;
  void restore(const State& state);

  int64_t reserved_bytes() const;  // of all blocks, in use or not
  int64_t peak_bytes() const { return peak_; }
  void start_phase() { phase_peak_ = in_use_; }
  int64_t phase_peak_bytes() const { return phase_peak_; }  // since start_phase()

 private:
  template <class Blocks>
  void push(int64_t size, Blocks&& blocks) {
    sizes_.reserve(sizes_.size() + 1);  // so that nothing fails once there is a block
    blocks.push(size);
    sizes_.push_back(size);
  }

  std::vector<int64_t> sizes_;  // of the blocks
  std::vector<int64_t> used_;   // of each full block
  Mark top_;
  int64_t in_use_ = 0;          // below top_, padding included
  int64_t peak_ = 0, phase_peak_ = 0;
};

}  // namespace nibble::nn
