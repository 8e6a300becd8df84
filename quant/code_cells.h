// Finding a code by a look-up and a comparison or two: the axis is cut into cells so narrow that few thresholds lie in one. A cell
// knows how many lie before it. The codes are those of the definition; a table that could give another does not compile.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "quant/codebook.h"

namespace nibble::quant {

// NF4 on [-1, 1]: the cell of x is the integer part of x * kNf4CellScale + kNf4CellScale, and holds one threshold at most. Rounding
// may put a value into the neighbour of its cell, with the same code as long as no threshold lies at the edge.
inline constexpr float kNf4CellScale = 15.9f;  // 1 lands in the last cell, and rounding does not carry it beyond
inline constexpr int kNf4Cells = 32;

struct Nf4Cells {
  std::array<float, kNf4Cells> threshold;  // infinity: none inside
  std::array<int32_t, kNf4Cells> before;
};

constexpr Nf4Cells make_nf4_cells() {
  constexpr double kClear = 1e-4;  // of a cell's width; fp32 is off by less than 1e-5 of it
  Nf4Cells cells{};
  for (int c = 0; c < kNf4Cells; ++c) {
    cells.threshold[static_cast<size_t>(c)] = std::numeric_limits<float>::infinity();
    cells.before[static_cast<size_t>(c)] = 0;
  }
  for (const float threshold : kNf4Thresholds) {
    const double at = (static_cast<double>(threshold) + 1.0) * static_cast<double>(kNf4CellScale);
    const int cell = static_cast<int>(at);
    if (at - cell < kClear || at - cell > 1 - kClear) throw "a threshold lies at the edge of a cell";
    float& inside = cells.threshold[static_cast<size_t>(cell)];
    if (inside != std::numeric_limits<float>::infinity()) throw "two thresholds in a cell";
    inside = threshold;
    for (int c = cell + 1; c < kNf4Cells; ++c) ++cells.before[static_cast<size_t>(c)];
  }
  return cells;
}
alignas(64) inline constexpr Nf4Cells kNf4CellTable = make_nf4_cells();

// Scales' codes: a cell is what shares a float's sign, exponent and first five bits after the point. At most two of the 255
// thresholds lie in one.
inline constexpr int kFloatCellShift = 18;
inline constexpr size_t kFloatCells = size_t{1} << (32 - kFloatCellShift);

struct FloatCells {
  std::array<uint8_t, kFloatCells> before{};  // thresholds below all of the cell's values
  std::array<float, 256> threshold{};         // in order, the last one infinity
};

constexpr FloatCells make_float_cells(const std::array<float, 255>& thresholds) {
  FloatCells cells{};
  for (size_t i = 0; i < thresholds.size(); ++i) cells.threshold[i] = thresholds[i];
  cells.threshold[255] = std::numeric_limits<float>::infinity();
  const auto below = [&](float x) {
    size_t first = 0, last = thresholds.size();
    while (first < last) {
      const size_t middle = (first + last) / 2;
      if (thresholds[middle] < x) first = middle + 1; else last = middle;
    }
    return first;
  };
  constexpr uint32_t kInside = (uint32_t{1} << kFloatCellShift) - 1;
  for (uint32_t key = 0; key < kFloatCells; ++key) {
    const uint32_t begin = key << kFloatCellShift;
    if ((begin & 0x7F800000u) == 0x7F800000u) continue;  // not finite: for others
    const float a = std::bit_cast<float>(begin), b = std::bit_cast<float>(begin | kInside);
    const size_t least = below(a < b ? a : b), most = below(a < b ? b : a);
    if (most - least > 2) throw "three thresholds in a cell";
    cells.before[key] = static_cast<uint8_t>(least);
  }
  return cells;
}

// How many thresholds are below x. REQUIRES a finite x.
inline uint8_t count_below(const FloatCells& cells, float x) {
  uint32_t code = cells.before[std::bit_cast<uint32_t>(x) >> kFloatCellShift];
  code += x > cells.threshold[code] ? 1u : 0u;
  code += x > cells.threshold[code] ? 1u : 0u;
  return static_cast<uint8_t>(code);
}

}  // namespace nibble::quant
