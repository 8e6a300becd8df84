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

TEST(Arena, EmptyTensorsAreFine) {
  Arena arena;
  EXPECT_EQ(arena.take({0, 8}, at::kFloat).numel(), 0);
}

}  // namespace
}  // namespace nibble::nn
