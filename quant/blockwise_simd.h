// The seam between quant/blockwise_cpu.cpp and its vector versions, and what they share. Not for other units.
#pragma once

#include <bit>

#include "core/bf16.h"
#include "quant/blockwise_cpu.h"
#include "quant/blockwise_math.h"
#include "quant/layout_constants.h"

namespace nibble::quant {

// The bits of |x| order like |x| for finite values, with infinities and NaNs above them: a maximum over these finds a
// block's absmax and whether anything in it is not finite, in one pass.
inline constexpr uint32_t kMagnitudeMask = 0x7FFFFFFFu;
inline constexpr uint32_t kInfinityBits = 0x7F800000u;

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

inline const std::array<float, 16>& codebook(QuantType type) {
  return type == QuantType::kNf4 ? kNf4Codebook : kFp4Codebook;
}

inline float block_scale(const DequantizeSpan& span, int64_t block) {
  if (span.absmax != nullptr) return span.absmax[block];
  return nested_absmax_value(span.absmax_codes[block], span.nested_absmax[block / kNestedBlocksize], span.nested_offset);
}

// Thresholds as a binary search tree in heap order: node 1 is the root, the children of n are 2n and 2n+1. Descending by
// n = 2n + (x > tree[n]) from node 1 ends, after all levels, at N + 1 + (how many thresholds are below x).
template <size_t N>
constexpr std::array<float, N + 1> threshold_tree(const std::array<float, N>& sorted) {
  std::array<float, N + 1> tree{};
  for (size_t node = 1; node <= N; ++node) {
    size_t level_begin = 1;
    while (level_begin * 2 <= node) level_begin *= 2;
    const size_t stride = (N + 1) / level_begin;
    tree[node] = sorted[stride / 2 + (node - level_begin) * stride - 1];
  }
  return tree;
}
alignas(64) inline constexpr auto kNf4Tree = threshold_tree(kNf4Thresholds);  // [16], entry 0 unused
alignas(32) inline constexpr auto kFp4Tree = threshold_tree(kFp4Thresholds);  // [8], entry 0 unused

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

// How many thresholds are below x (NaN: none), without branches, which a processor could not predict.
template <size_t Size>
inline uint32_t count_below(const std::array<float, Size>& tree, float x) {
  uint32_t node = 1;
  while (node < Size) node = 2 * node + (x > tree[node] ? 1 : 0);
  return node - Size;
}

// As nf4_code, fp4_code and dynamic_code(x, kDynamicMapSigned), which are the definitions.
inline uint8_t nf4_code_by_tree(float x) { return static_cast<uint8_t>(count_below(kNf4Tree, x)); }
inline uint8_t fp4_code_by_tree(float x) {
  const float magnitude = std::bit_cast<float>(std::bit_cast<uint32_t>(x) & kMagnitudeMask);
  return static_cast<uint8_t>(kFp4CodeBySize[count_below(kFp4Tree, magnitude)] | (x < 0.0f ? 8 : 0));
}
inline uint8_t dynamic_code_by_tree(float x) { return static_cast<uint8_t>(count_below(kDynamicTree, x)); }

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
