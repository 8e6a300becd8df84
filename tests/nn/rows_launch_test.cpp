// The geometry that element-wise kernels share, walked through on the host.
#include "nn/rows_launch.h"

#include <gtest/gtest.h>

#include <vector>

namespace nibble::nn {
namespace {

TEST(RowTiles, EveryUnitHasOneThread) {
  for (const int64_t units : {1, 2, 7, 32, 100, 128, 129, 255, 256, 257, 512, 1000}) {
    for (const int64_t rows : {1, 2, 9, 300}) {
      const RowTiles tiles = row_tiles(rows, units);
      const gpu::LaunchShape shape = row_tiles_shape(tiles);
      std::vector<int> owners(static_cast<size_t>(rows * units), 0);
      for (unsigned block = 0; block < shape.blocks; ++block) {
        for (int thread = 0; thread < kRowThreads; ++thread) {
          const RowUnit at = row_unit(tiles, block, thread);
          if (at.exists) ++owners.at(static_cast<size_t>(at.row * units + at.unit));
        }
      }
      EXPECT_EQ(owners, std::vector<int>(owners.size(), 1)) << rows << " rows of " << units << " units";
    }
  }
}

TEST(RowTiles, NeighboursTakeNeighbouringUnits) {
  const RowTiles tiles = row_tiles(10, 1000);
  for (int thread = 1; thread < kRowThreads; ++thread) {
    EXPECT_EQ(row_unit(tiles, 5, thread).unit, row_unit(tiles, 5, thread - 1).unit + 1);
  }
}

TEST(RowTiles, FiveBillionElementsFit) {
  for (const int64_t rows : {int64_t{1}, int64_t{5000}, int64_t{1'000'000}, int64_t{100'000'000}}) {
    const int64_t units = 5'000'000'000 / rows / kUnitElements + 1;
    const RowTiles tiles = row_tiles(rows, units);
    const gpu::LaunchShape shape = row_tiles_shape(tiles);
    int64_t last_row = -1, last_unit = -1;
    for (int thread = 0; thread < kRowThreads; ++thread) {
      const RowUnit at = row_unit(tiles, shape.blocks - 1, thread);
      if (at.exists) last_row = at.row, last_unit = at.unit;
    }
    EXPECT_EQ(last_row, rows - 1);
    EXPECT_EQ(last_unit, units - 1);
  }
  EXPECT_THROW(row_tiles_shape(row_tiles(int64_t{1} << 40, 256)), std::invalid_argument);
}

TEST(RowMatrix, RowsWithoutGapsAreOneRow) {
  const RowMatrix dense = row_matrix(6, 100, {100, 100}), gaps = row_matrix(6, 100, {100, 104});
  EXPECT_EQ(dense.rows, 1);
  EXPECT_EQ(dense.width, 600);
  EXPECT_EQ(dense.tiles.units, 75);
  EXPECT_EQ(gaps.rows, 6);
  EXPECT_EQ(gaps.width, 100);
  EXPECT_EQ(gaps.tiles.units, 13);
  EXPECT_EQ(unit_elements(12, gaps.width), 4);
  EXPECT_EQ(unit_elements(11, gaps.width), 8);
}

TEST(Units, AreAlignedWhereEveryRowBeginsAtSixteenBytes) {
  alignas(16) char storage[64] = {};
  EXPECT_TRUE(units_are_aligned({storage, nullptr, storage + 16}, 2, {8, 4096}));
  EXPECT_FALSE(units_are_aligned({storage, storage + 2}, 2, {8}));
  EXPECT_FALSE(units_are_aligned({storage}, 2, {8, 12}));
  EXPECT_TRUE(units_are_aligned({storage}, 1, {12}));
}

}  // namespace
}  // namespace nibble::nn
