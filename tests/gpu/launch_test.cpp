// Unit: gpu/launch.
#include "gpu/launch.h"

#include <gtest/gtest.h>

#include <vector>

namespace nibble::gpu {
namespace {

TEST(LaunchShape, OwnsEachItemExactlyOnceAroundEveryBoundary) {
  for (int tile : {32, 256, 8192}) {
    for (int64_t items = 1; items < 3 * tile + 2; items += (items % tile < 3 || items % tile > tile - 3) ? 1 : tile / 8) {
      const LaunchShape shape = launch_shape(items, tile, 256);
      std::vector<int> owners(items, 0);
      for (unsigned block = 0; block < shape.blocks; ++block) {
        ASSERT_GE(tile_count(block, tile, items), 1) << "an empty block";
        for (int i = 0; i < tile_count(block, tile, items); ++i) ++owners.at(tile_begin(block, tile) + i);
      }
      EXPECT_EQ(owners, std::vector<int>(items, 1)) << items << " in tiles of " << tile;
    }
  }
}

TEST(LaunchShape, HoldsForFiveBillionItems) {
  const int64_t items = 5'000'000'001;
  const LaunchShape shape = launch_shape(items, 8192, 256);
  EXPECT_EQ(shape.blocks, 610352u);
  EXPECT_EQ(tile_begin(shape.blocks - 1, 8192), 4'999'995'392);
  EXPECT_EQ(tile_count(shape.blocks - 1, 8192, items), 4609);
  EXPECT_EQ(tile_count(shape.blocks - 2, 8192, items), 8192);
}

TEST(LaunchShape, RefusesWhatCudaCannotLaunch) {
  EXPECT_THROW(launch_shape(0, 256, 256), std::invalid_argument);
  EXPECT_THROW(launch_shape(-5, 256, 256), std::invalid_argument);
  EXPECT_THROW(launch_shape(5, 0, 256), std::invalid_argument);
  for (int threads : {0, 16, 33, 1056}) EXPECT_THROW(launch_shape(5, 256, threads), std::invalid_argument) << threads;
  EXPECT_EQ(launch_shape(kMaxGridBlocks, 1, 256).blocks, 2147483647u);
  EXPECT_THROW(launch_shape(kMaxGridBlocks + 1, 1, 256), std::invalid_argument);
}

}  // namespace
}  // namespace nibble::gpu
