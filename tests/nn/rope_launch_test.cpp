// The geometry of rotary position embedding's kernel, walked through on the host.
#include "nn/rope_launch.h"

#include <gtest/gtest.h>

#include <vector>

namespace nibble::nn {
namespace {

TEST(RopeGeometry, EveryPairOfEveryHeadHasOneThread) {
  for (const int64_t heads : {1, 3, 4, 8, 32, 40, 131}) {
    for (const int64_t half : {1, 3, 8, 32, 40, 64, 160}) {
      const int64_t tokens = 7;
      const RopeTiles tiles = rope_tiles(heads, half);
      const gpu::LaunchShape shape = rope_shape(tiles, tokens);
      std::vector<int> owners(static_cast<size_t>(tokens * heads * half), 0);
      for (unsigned block = 0; block < shape.blocks; ++block) {
        // The union of the threads' items thread, thread + kRopeThreads, ...
        for (int i = 0; i < tiles.tokens_per_block * tiles.items; ++i) {
          const RopeItem item = rope_item(tiles, i);
          const int64_t token = gpu::tile_begin(block, tiles.tokens_per_block) + item.token;
          if (token >= tokens) continue;
          for (int64_t head = item.first_head; head < item.first_head + kRopeHeads && head < heads; ++head) {
            for (int pair = 0; pair < unit_elements(item.unit, half); ++pair) {
              ++owners.at(static_cast<size_t>((token * heads + head) * half + item.unit * kUnitElements + pair));
            }
          }
        }
      }
      EXPECT_EQ(owners, std::vector<int>(owners.size(), 1)) << heads << " heads of " << half << " pairs";
    }
  }
}

TEST(RopeGeometry, BlocksHaveWorkForTheirThreads) {
  const RopeTiles llama = rope_tiles(32, 64), small = rope_tiles(3, 32);
  EXPECT_EQ(llama.items * llama.tokens_per_block, kRopeThreads);
  EXPECT_EQ(small.items * small.tokens_per_block, kRopeThreads);
}

TEST(RopeGeometry, FiveBillionElementsFit) {
  const RopeTiles tiles = rope_tiles(32, 64);
  const int64_t tokens = 5'000'000'000 / (32 * 128);
  const gpu::LaunchShape shape = rope_shape(tiles, tokens);
  EXPECT_LT(gpu::tile_begin(shape.blocks - 1, tiles.tokens_per_block), tokens);
  EXPECT_GE(gpu::tile_begin(shape.blocks - 1, tiles.tokens_per_block) + tiles.tokens_per_block, tokens);
}

}  // namespace
}  // namespace nibble::nn
