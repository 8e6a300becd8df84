// Units: nn/arena, core/round_up
#include "nn/arena.h"

#include <gtest/gtest.h>

namespace nibble::nn {
namespace {

TEST(Arena, GivesAlignedDistinctTensorsInStackOrder) {
  Arena arena;
  const Tensor a = arena.take({3, 5}, at::kFloat), b = arena.take({7}, at::kBFloat16);
  a.fill_(1);
  b.fill_(2);
  EXPECT_EQ(a.sum().item<float>(), 15.0f);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b.data_ptr()) % 64, 0u);
  const Arena::Mark mark = arena.mark();
  const void* first = arena.take({100}, at::kFloat).data_ptr();
  arena.release(mark);
  EXPECT_EQ(arena.take({100}, at::kFloat).data_ptr(), first);
}

TEST(Arena, SteadyStepsReserveNothingMore) {
  Arena arena;
  int64_t reserved = 0;
  for (int step = 0; step < 4; ++step) {
    ArenaScope scope(arena);
    for (int64_t n : {1 << 20, 9 << 20, 3 << 20, 40 << 20, 1}) {
      const Tensor t = arena.take({n}, at::kByte);
      t[n - 1].fill_(1);  // the last byte is ours
    }
    if (step == 0) reserved = arena.bytes_reserved();
    EXPECT_EQ(arena.bytes_reserved(), reserved);
  }
  EXPECT_GE(arena.peak_bytes(), 53 << 20);
}

TEST(Arena, ReleaseAcrossBlocksKeepsTheAccount) {
  Arena arena;
  arena.take({10 << 20}, at::kByte);
  const Arena::Mark mark = arena.mark();
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 5; ++i) arena.take({12 << 20}, at::kByte);
    arena.release(mark);
  }
  EXPECT_EQ(arena.peak_bytes(), 70 << 20);
}

TEST(Arena, ComesBackToAStateAsIfTheTakesHadBeenMade) {
  constexpr int64_t kHalf = 10 << 20;  // of a block: the second and the third begin blocks of their own
  Arena arena;
  const auto key = [&] {
    std::vector<int64_t> described;
    arena.describe_to(described);
    return described;
  };
  arena.take({100}, at::kByte);
  const Arena::Mark begin = arena.mark();
  const std::vector<int64_t> before = key();
  const Tensor first = arena.take({kHalf}, at::kByte), second = arena.take({kHalf}, at::kByte), third = arena.take({kHalf}, at::kByte);
  EXPECT_NE(key(), before);
  arena.release(begin);
  EXPECT_NE(key(), before) << "there are more blocks now";
  const std::vector<int64_t> settled = key();
  arena.take({kHalf}, at::kByte), arena.take({kHalf}, at::kByte), arena.take({kHalf}, at::kByte);
  const BlockStack::State after = arena.state();
  const std::vector<int64_t> then = key();
  const Tensor next = arena.take({64}, at::kByte);
  const int64_t peak = arena.peak_bytes(), reserved = arena.bytes_reserved();
  arena.release(begin);
  EXPECT_EQ(key(), settled);

  arena.restore(after);
  EXPECT_EQ(key(), then);
  EXPECT_EQ(arena.take({64}, at::kByte).data_ptr(), next.data_ptr());
  arena.release(begin);
  EXPECT_EQ(key(), settled) << "what was restored is given back";
  EXPECT_EQ(arena.take({kHalf}, at::kByte).data_ptr(), first.data_ptr());
  EXPECT_EQ(arena.take({kHalf}, at::kByte).data_ptr(), second.data_ptr());
  EXPECT_EQ(arena.take({kHalf}, at::kByte).data_ptr(), third.data_ptr());
  EXPECT_EQ(arena.peak_bytes(), peak);
  EXPECT_EQ(arena.bytes_reserved(), reserved);
}

TEST(Arena, EmptyTensorsAreFine) {
  Arena arena;
  EXPECT_EQ(arena.take({0, 8}, at::kFloat).numel(), 0);
}

// On a CPU what was touched counts, in whole pages of 2 MiB: untouched memory takes none.
TEST(Arena, TellsTheAccountWhatItHolds) {
  MemoryAccount account;
  Place place;
  place.account = &account;
  {
    Arena arena(place, MemoryPart::kSavedActivations);
    const auto held = [&](MemoryPart part) { return account.in_use(part, MemorySide::kHost) >> 20; };
    arena.take({1}, at::kByte);
    EXPECT_EQ(held(MemoryPart::kSavedActivations), 2);
    {
      const ArenaScope scope(arena);
      arena.take({5 << 20}, at::kByte);
      EXPECT_EQ(held(MemoryPart::kSavedActivations), 6);
      const ArenaPart logits(arena, MemoryPart::kLogits);
      arena.take({1 << 20}, at::kByte);  // still in the first block: it stays what it is
      EXPECT_EQ(held(MemoryPart::kLogits), 0);
      arena.take({20 << 20}, at::kByte);
      EXPECT_EQ(held(MemoryPart::kLogits), 20);
    }
    EXPECT_EQ(held(MemoryPart::kSavedActivations) + held(MemoryPart::kLogits), account.total(MemorySide::kHost) >> 20);
    EXPECT_GE(account.total(MemorySide::kHost) >> 20, 26);  // an arena keeps its blocks
  }
  EXPECT_EQ(account.total(MemorySide::kHost), 0);
}

TEST(Arena, SaysWhatAnAllocationThatFailedWasFor) {
  MemoryAccount account;
  Place place;
  place.account = &account;
  Arena arena(place, MemoryPart::kSavedActivations);
  const ArenaPart part(arena, MemoryPart::kLogits);
  try {
    arena.take({int64_t{1} << 50}, at::kByte);
    FAIL() << "a petabyte was given";
  } catch (const AllocationFailed& error) {
    EXPECT_EQ(error.part, MemoryPart::kLogits);
    EXPECT_EQ(error.side, MemorySide::kHost);
    EXPECT_EQ(error.bytes, int64_t{1} << 50);
  }
  EXPECT_EQ(account.total(MemorySide::kHost), 0);
  EXPECT_EQ(arena.take({8}, at::kByte).numel(), 8);  // it goes on
}

}  // namespace
}  // namespace nibble::nn
