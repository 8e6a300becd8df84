// The geometry of RMSNorm's kernels, walked through on the host.
#include "nn/rms_norm_launch.h"

#include <gtest/gtest.h>

#include <vector>

namespace nibble::nn {
namespace {

TEST(NormGeometry, EveryUnitOfEveryRowHasOneThread) {
  for (const int64_t width : {1, 8, 9, 64, 128, 136, 250, 256, 257, 576, 1024, 1032, 4096, 8192, 16384, 16392, 20000, 40000}) {
    const NormGeometry g = norm_geometry(width, width % 8 == 0);
    for (const int64_t count : {1, 3, 4, 33, 257}) {
      if (!g.narrow() && count > 4) continue;  // a block a row: more of the same
      const gpu::LaunchShape shape = norm_shape(g, count);
      ASSERT_EQ(static_cast<int>(shape.threads), g.threads);
      std::vector<int> owners(static_cast<size_t>(count * g.units), 0);
      for (unsigned block = 0; block < shape.blocks; ++block) {
        for (int thread = 0; thread < g.threads; ++thread) {
          for (int r = 0; r < g.rows; ++r) {
            const int64_t row = norm_row(g, block, thread, r);
            for (int k = 0; norm_unit(g, thread, k) < g.units; ++k) {
              if (row < count) ++owners.at(static_cast<size_t>(row * g.units + norm_unit(g, thread, k)));
            }
          }
        }
      }
      EXPECT_EQ(owners, std::vector<int>(owners.size(), 1)) << width << " wide, " << count << " rows";
    }
  }
}

TEST(NormGeometry, ANarrowRowLiesInOneWarpWithALaneForEachRow) {
  for (int64_t width = 8; width <= 256; width += 8) {
    const NormGeometry g = norm_geometry(width, true);
    ASSERT_TRUE(g.narrow());
    EXPECT_EQ(g.lanes & (g.lanes - 1), 0);
    EXPECT_LE(g.lanes, gpu::kWarpThreads);
    EXPECT_GE(g.lanes, g.rows);
    EXPECT_LE(g.units, g.lanes) << "a lane holds one unit";
  }
}

TEST(NormGeometry, AWideRowHasWholeWarpsAndStaysInRegistersUpTo16384) {
  for (int64_t width = 1; width <= 30000; width += 13) {
    const NormGeometry g = norm_geometry(width, width > 256);
    ASSERT_FALSE(g.narrow());
    EXPECT_EQ(g.threads % gpu::kWarpThreads, 0);
    EXPECT_EQ(g.lanes, g.threads);
    EXPECT_LE(g.threads, kNormMostThreads);
    if (width <= 16384) {
      EXPECT_LE(g.units, kNormHeldUnits * g.threads) << width;
    }
  }
}

TEST(NormGeometry, FiveBillionElementsFit) {
  for (const int64_t width : {64, 4096}) {
    const NormGeometry g = norm_geometry(width, true);
    const int64_t count = 5'000'000'000 / width;
    const gpu::LaunchShape shape = norm_shape(g, count);
    EXPECT_LT(norm_row(g, shape.blocks - 1, 0, 0), count);
    EXPECT_GE(norm_row(g, shape.blocks - 1, g.threads - 1, g.rows - 1), count - 1);
  }
}

}  // namespace
}  // namespace nibble::nn
