// The places that arenas cut, in sizes alone, against arenas with memory.
#include "nn/arena_blocks.h"

#include <gtest/gtest.h>

#include "nn/arena.h"

namespace nibble::nn {
namespace {

constexpr int64_t kMib = int64_t{1} << 20;

// Takes and gives back the same sizes in an arena and in its model.
TEST(BlockStack, FollowsAnArena) {
  Arena arena;
  BlockStack model;
  const auto take = [&](int64_t bytes) {
    arena.take({bytes}, at::kByte);
    model.take(bytes);
  };
  take(100);
  take(10 * kMib);
  const auto mark = arena.mark();
  const auto model_mark = model.mark();
  take(9 * kMib);    // the first block has no room
  take(40 * kMib);   // larger than a block
  take(3);
  EXPECT_EQ(model.peak_bytes(), arena.peak_bytes());
  EXPECT_EQ(model.reserved_bytes(), arena.bytes_reserved());
  arena.release(mark);
  model.release(model_mark);
  take(5 * kMib);
  take(60 * kMib);
  EXPECT_EQ(model.peak_bytes(), arena.peak_bytes());
  EXPECT_EQ(model.reserved_bytes(), arena.bytes_reserved());
}

TEST(BlockStack, ReservedLosesNothingAtTheEndsOfBlocks) {
  Arena arena;
  BlockStack model;
  arena.reserve(100 * kMib);
  model.reserve(100 * kMib);
  arena.reserve(7);  // it has a block
  for (int i = 0; i < 10; ++i) {
    arena.take({10 * kMib}, at::kByte);
    model.take(10 * kMib);
  }
  EXPECT_EQ(arena.bytes_reserved(), 100 * kMib);
  EXPECT_EQ(model.reserved_bytes(), 100 * kMib);
  arena.take({1}, at::kByte);  // more than was reserved is no error
  EXPECT_EQ(arena.bytes_reserved(), 116 * kMib);
}

TEST(BlockStack, KnowsThePeakOfAPhase) {
  BlockStack model;
  model.take(640);
  const auto mark = model.mark();
  model.take(6400);
  model.release(mark);
  model.start_phase();
  model.take(64);
  EXPECT_EQ(model.phase_peak_bytes(), 704);
  EXPECT_EQ(model.peak_bytes(), 7040);
}

// Memory that is given in pieces of at most some size.
struct Scarce {
  int64_t largest;
  std::vector<int64_t> blocks;
  void push(int64_t bytes) {
    if (bytes > largest) throw std::bad_alloc();
    blocks.push_back(bytes);
  }
  void pop() { blocks.pop_back(); }
};

TEST(BlockStack, GoesOnAfterABlockThatCouldNotBeHad) {
  Scarce memory{20 * kMib, {}};
  BlockStack stack;
  EXPECT_THROW(stack.reserve(30 * kMib, memory), std::bad_alloc);
  stack.take(kMib, memory);
  const auto mark = stack.mark();
  EXPECT_THROW(stack.take(40 * kMib, memory), std::bad_alloc);
  EXPECT_EQ(stack.peak_bytes(), kMib);
  const auto spot = stack.take(18 * kMib, memory);
  EXPECT_EQ(spot.block, 1u);
  EXPECT_EQ(memory.blocks, (std::vector<int64_t>{16 * kMib, 18 * kMib}));
  EXPECT_EQ(stack.reserved_bytes(), 34 * kMib);
  stack.release(mark);
  EXPECT_EQ(stack.take(15 * kMib, memory).block, 0u);
}

TEST(BlockStack, AnEmptyLastBlockGivesWayToALargerOne) {
  Scarce memory{100 * kMib, {}};
  BlockStack stack;
  stack.reserve(4 * kMib, memory);
  stack.take(50 * kMib, memory);
  EXPECT_EQ(memory.blocks, std::vector<int64_t>{50 * kMib});
  const auto mark = stack.mark();
  stack.take(17 * kMib, memory);
  stack.release(mark);
  const auto spot = stack.take(60 * kMib, memory);
  EXPECT_EQ(memory.blocks, (std::vector<int64_t>{50 * kMib, 60 * kMib}));
  EXPECT_EQ(spot.block, 1u);
  EXPECT_EQ(spot.end - spot.begin, 60 * kMib);
}

}  // namespace
}  // namespace nibble::nn
