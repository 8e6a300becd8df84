// The seam between quant/blockwise_cpu.cpp and its vector versions, and what they share. Not for other units.
#pragma once

#include <bit>

#include "core/bf16.h"
#include "quant/blockwise_cpu.h"
#include "quant/blockwise_math.h"
#include "quant/code_cells.h"
#include "quant/piece_scales.h"
#include "quant/threshold_tree.h"

namespace nibble::quant {

// IEEE half, as its bits, to float: exact. Multiplying by 2^112 turns half's exponent bias into float's and normalizes
// denormals.
inline float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16, rest = half & 0x7FFFu;
  const float scaled = std::bit_cast<float>(rest << 13) * 0x1p112f;
  const uint32_t bits = rest >= 0x7C00u ? 0x7F800000u | (rest & 0x3FFu) << 13 : std::bit_cast<uint32_t>(scaled);
  return std::bit_cast<float>(bits | sign);
}

// Elements as they lie in memory.
struct Half {
  uint16_t bits;
};
struct Bfloat {
  uint16_t bits;
};
inline float widen(float x) { return x; }
inline float widen(Bfloat x) { return bf16_to_float(x.bits); }
inline float widen(Half x) { return half_to_float(x.bits); }

// The decisions of dynamic_code as thresholds: code = how many of them are below x (strictly). Which of two neighbours an
// exact midpoint goes to depends on where the kernel's search ends; where it is the upper one, the threshold is the next
// float below the midpoint.
constexpr std::array<float, 255> dynamic_thresholds(const std::array<float, 256>& map) {
  std::array<float, 255> thresholds{};
  for (int k = 0; k < 255; ++k) {
    const float middle = (map[k] + map[k + 1]) * 0.5f;
    const uint32_t bits = std::bit_cast<uint32_t>(middle);
    const float below = std::bit_cast<float>(middle > 0.0f ? bits - 1 : bits + 1);
    thresholds[k] = dynamic_code(middle, map.data()) == k ? middle : below;
  }
  return thresholds;
}
alignas(64) inline constexpr auto kDynamicTree = threshold_tree(dynamic_thresholds(kDynamicMapSigned));

inline constexpr FloatCells kDynamicCells = make_float_cells(dynamic_thresholds(kDynamicMapSigned));

template <size_t Size>
inline uint32_t count_below(const std::array<float, Size>& tree, float x) {
  return count_below(tree.data(), Size, x);
}

// As nf4_code, fp4_code and dynamic_code(x, kDynamicMapSigned), which are the definitions.
inline uint8_t nf4_code_by_tree(float x) { return static_cast<uint8_t>(count_below(kNf4Tree, x)); }
inline uint8_t fp4_code_by_tree(float x) {
  const float magnitude = std::bit_cast<float>(std::bit_cast<uint32_t>(x) & kMagnitudeMask);
  return static_cast<uint8_t>(kFp4CodeBySize[count_below(kFp4Tree, magnitude)] | (x < 0.0f ? 8 : 0));
}
inline uint8_t dynamic_code_by_tree(float x) { return static_cast<uint8_t>(count_below(kDynamicTree, x)); }
inline uint8_t dynamic_code_by_cell(float x) {
  const bool finite = (std::bit_cast<uint32_t>(x) & kMagnitudeMask) < kInfinityBits;
  return finite ? count_below(kDynamicCells, x) : dynamic_code_by_tree(x);
}

#if defined(__x86_64__)
// As quantize_blocks_cpu, for full blocks only.
int64_t quantize_full_blocks_avx2(const QuantizeSpan& span, int64_t block_begin, int64_t block_end);
int64_t quantize_full_blocks_avx512(const QuantizeSpan& span, int64_t block_begin, int64_t block_end);

// As dequantize_cpu.
void dequantize_avx2(const DequantizeSpan& span, int64_t begin, int64_t end, float* out);
void dequantize_avx2(const DequantizeSpan& span, int64_t begin, int64_t end, uint16_t* out);
void dequantize_avx512(const DequantizeSpan& span, int64_t begin, int64_t end, float* out);
void dequantize_avx512(const DequantizeSpan& span, int64_t begin, int64_t end, uint16_t* out);
#endif

// The products of a block: codebook[code] * scale in fp32, for bf16 rounded once.
inline void fill_table(const std::array<float, 16>& book, float scale, float (&table)[16]) {
  for (int code = 0; code < 16; ++code) table[code] = book[code] * scale;
}
inline void fill_table(const std::array<float, 16>& book, float scale, uint16_t (&table)[16]) {
  for (int code = 0; code < 16; ++code) table[code] = float_to_bf16(book[code] * scale);
}

// Decodes elements [begin, end) of one block by its table.
template <class Out>
inline void decode_scalar(const uint8_t* codes, int64_t begin, int64_t end, const Out (&table)[16], Out* out) {
  int64_t i = begin;
  if (i < end && (i & 1) != 0) *out++ = table[codes[i++ / 2] & 15];
  for (; i + 1 < end; i += 2) {
    const uint8_t pair = codes[i / 2];
    *out++ = table[pair >> 4];
    *out++ = table[pair & 15];
  }
  if (i < end) *out = table[codes[i / 2] >> 4];
}

}  // namespace nibble::quant
