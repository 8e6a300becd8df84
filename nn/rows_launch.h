// Geometry that the element-wise kernels share: a matrix of rows, cut into units that one thread each takes. Plain C++17, so
// that tests walk through it without a GPU.
//
// A unit is eight elements: one 16-byte access of bf16, two of fp32, and neighbouring threads take neighbouring units.
// Wide rows are cut into tiles of one block each; of narrow rows a block takes several, so that its threads have work.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

#include "gpu/launch.h"

namespace nibble::nn {

inline constexpr int kUnitElements = 8;
inline constexpr int kRowThreads = 256;  // a block

struct RowTiles {
  int64_t rows;
  int64_t units;           // a row
  unsigned tiles_per_row;  // 1 where a block takes whole rows
  int rows_per_tile;       // 1 where a row has several tiles
};

// REQUIRES rows, units >= 1.
inline RowTiles row_tiles(int64_t rows, int64_t units) {
  if (units < kRowThreads) return {rows, units, 1, static_cast<int>(kRowThreads / units)};
  return {rows, units, gpu::launch_shape(units, kRowThreads, kRowThreads).blocks, 1};
}

// A matrix as kernels see it: rows that follow one another without a gap are one long row, so that no tile is ragged but
// the last.
struct RowMatrix {
  int64_t rows, width;
  RowTiles tiles;
};

// Strides count elements, one for each matrix of the operation. REQUIRES rows, width >= 1.
inline RowMatrix row_matrix(int64_t rows, int64_t width, std::initializer_list<int64_t> strides) {
  bool adjacent = true;
  for (const int64_t stride : strides) adjacent = adjacent && stride == width;
  if (adjacent) {
    width *= rows;
    rows = 1;
  }
  return {rows, width, row_tiles(rows, (width - 1) / kUnitElements + 1)};
}

// THROWS std::invalid_argument where the grid would be larger than CUDA's.
inline gpu::LaunchShape row_tiles_shape(const RowTiles& tiles) {
  const int64_t whole_rows = (tiles.rows - 1) / tiles.rows_per_tile + 1;
  return gpu::launch_shape(whole_rows * tiles.tiles_per_row, 1, kRowThreads);
}

// What a thread owns. `exists` is false beyond the end.
struct RowUnit {
  int64_t row;
  int64_t unit;  // of the row
  bool exists;
};

NIBBLE_HOST_DEVICE inline RowUnit row_unit(const RowTiles& tiles, unsigned block, int thread) {
  if (tiles.rows_per_tile == 1) {
    const int64_t unit = static_cast<int64_t>(block % tiles.tiles_per_row) * kRowThreads + thread;
    return {static_cast<int64_t>(block / tiles.tiles_per_row), unit, unit < tiles.units};
  }
  const int units = static_cast<int>(tiles.units), row_in_tile = thread / units;
  const int64_t row = static_cast<int64_t>(block) * tiles.rows_per_tile + row_in_tile;
  return {row, thread % units, row_in_tile < tiles.rows_per_tile && row < tiles.rows};
}

// How many elements a unit has: fewer at the end of a row.
NIBBLE_HOST_DEVICE inline int unit_elements(int64_t unit, int64_t width) {
  const int64_t left = width - unit * kUnitElements;
  return static_cast<int>(left < kUnitElements ? left : kUnitElements);
}

// Whether every unit of every row begins at a multiple of 16 bytes, for bf16 and fp32. Null pointers count as aligned;
// strides do not matter to a single row.
inline bool units_are_aligned(std::initializer_list<const void*> pointers, int64_t rows,
                              std::initializer_list<int64_t> strides) {
  for (const void* p : pointers) {
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0) return false;
  }
  for (const int64_t stride : strides) {
    if (rows > 1 && stride % kUnitElements != 0) return false;
  }
  return true;
}

// For a launcher's own checks. THROWS std::invalid_argument unless `holds`.
inline void expect_launch(bool holds, const char* launcher, const char* expectation) {
  if (!holds) throw std::invalid_argument(std::string(launcher) + ": expected " + expectation);
}

}  // namespace nibble::nn
