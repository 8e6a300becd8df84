// Units: optim/update_launch, optim/clip_launch, optim/adamw_cuda, optim/lion_cuda, optim/clip_cuda. The kernels' geometry,
// walked through on the host.
#include "optim/update_launch.h"

#include <gtest/gtest.h>

#include <vector>

namespace nibble::optim {
namespace {

TEST(ChunkGeometry, EveryElementIsOneThreadsInOneRound) {
  std::vector<int> seen(kChunkElements, 0);
  for (int thread = 0; thread < kChunkThreads; ++thread) {
    for (int round = 0; round < kChunkRounds; ++round) {
      ++seen.at(chunk_element(thread, round));
      // The lane of optim/clip_math.h, and neighbours of a warp beside each other.
      EXPECT_EQ(chunk_element(thread, round) % kChunkThreads, thread);
    }
  }
  EXPECT_EQ(seen, std::vector<int>(kChunkElements, 1));
}

TEST(MomentGeometry, EveryValueOfAChunkIsOneLanesInOneRound) {
  std::vector<int> seen(kChunkElements, 0);
  for (int warp = 0; warp < kChunkWarps; ++warp) {
    for (int round = 0; round < kWarpBlocks; ++round) {
      for (int lane = 0; lane < gpu::kWarpThreads; ++lane) {
        for (int k = 0; k < kLaneElements; ++k) {
          ++seen.at(moment_block(warp, round) * kMomentBlock + moment_element(lane, k));
        }
      }
    }
  }
  EXPECT_EQ(seen, std::vector<int>(kChunkElements, 1));
}

TEST(ChunkGeometry, OneBlockAChunkUpToTheLargestGrid) {
  EXPECT_EQ(chunk_shape(1).blocks, 1u);
  EXPECT_EQ(chunk_shape(10'240).blocks, 10'240u);
  EXPECT_EQ(chunk_shape(10'240).threads, static_cast<unsigned>(kChunkThreads));
  const int64_t five_billion = (int64_t{5'000'000'000} + kChunkElements - 1) / kChunkElements;
  EXPECT_EQ(chunk_shape(five_billion).blocks, five_billion);
  EXPECT_THROW(chunk_shape(0), std::invalid_argument);
  EXPECT_THROW(chunk_shape(gpu::kMaxGridBlocks + 1), std::invalid_argument);
}

}  // namespace
}  // namespace nibble::optim
