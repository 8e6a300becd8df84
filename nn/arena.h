// Memory of one training step: tensors are carved from large blocks in stack order, so that the steady step allocates
// nothing and the bytes in use are known exactly.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "nn/arena_blocks.h"
#include "nn/place.h"

namespace nibble::nn {

// A stack of bytes. Blocks are kept when the stack shrinks and never move, so tensors stay valid until their mark is
// released. The place's account is told what a block holds of the system's memory: on a device all of it, on the CPU what
// has been touched, for untouched pages take none. Not for use by two threads at once.
class Arena {
 public:
  using Mark = BlockStack::Mark;

  explicit Arena(const Place& place = {}, MemoryPart part = MemoryPart::kWorkspace) : place_(place), part_(part) {}

  // An uninitialized contiguous tensor that lives until the mark below it is released. THROWS AllocationFailed, CudaError
  Tensor take(at::IntArrayRef sizes, at::ScalarType dtype);

  // Makes the first block as large as the whole use will be, where that is known: nothing is then lost at the ends of blocks.
  // No effect where there are blocks already. THROWS as take
  void reserve(int64_t bytes);

  Mark mark() const { return stack_.mark(); }
  void release(const Mark& mark) { stack_.release(mark); }

  // For work that is repeated as a graph (nn/step_graph.h): it has its tensors without taking them again. Adds to `key` all that
  // the addresses of tensors taken from now on depend on; while that is the same, a state after those takes can be restored.
  void describe_to(std::vector<int64_t>& key) const;
  BlockStack::State state() const { return stack_.state(); }
  void restore(const BlockStack::State& state) { stack_.restore(state); }

  int64_t bytes_reserved() const { return stack_.reserved_bytes(); }  // of all blocks, in use or not
  int64_t peak_bytes() const { return stack_.peak_bytes(); }

  // What blocks that are made from now on are for. Returns what it was.
  MemoryPart set_part(MemoryPart part) { return std::exchange(part_, part); }

 private:
  struct Block {
    std::unique_ptr<std::byte[], std::function<void(std::byte*)>> data;
    int64_t size;
    MemoryShare share;
  };
  // The stack's side of the memory: see BlockStack::take.
  struct Blocks {
    Arena& arena;
    void push(int64_t size) { arena.blocks_.push_back(arena.make_block(size)); }
    void pop() { arena.blocks_.pop_back(); }
  };
  Block make_block(int64_t size) const;

  Place place_;
  MemoryPart part_;
  BlockStack stack_;
  std::vector<Block> blocks_;  // of the stack, in its order
};

// Releases everything taken since its construction.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ArenaScope(const ArenaScope&) = delete;
  ~ArenaScope() { arena_.release(mark_); }

 private:
  Arena& arena_;
  Arena::Mark mark_;
};

// Names another part of the account for an arena's blocks while it lives. When an exception ends it, the name has served.
class ArenaPart {
 public:
  ArenaPart(Arena& arena, MemoryPart part) : arena_(arena), before_(arena.set_part(part)) {}
  ArenaPart(const ArenaPart&) = delete;
  ~ArenaPart() { arena_.set_part(before_); }

 private:
  Arena& arena_;
  MemoryPart before_;
};

}  // namespace nibble::nn
