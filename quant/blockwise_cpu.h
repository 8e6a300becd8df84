// Blockwise quantization on the CPU: ranges of blocks on plain pointers. Every instruction set gives the same bytes.
#pragma once

#include <cstdint>

#include "schema/enums.h"

namespace nibble::quant {

enum class Isa : uint8_t { kScalar, kAvx2, kAvx512 };
Isa best_isa();  // what this CPU can run

// The range of blocks [begin, end) of a flat array of n values.
struct BlockRange {
  int64_t n, blocksize, begin, end;
};

// Elements: fp32, or bf16 or fp16 as their bits.
enum class Element : uint8_t { kF32, kBf16, kF16 };

// Writes absmax[b] and the codes of the range. Returns the flat index of the first value that is not finite, or -1; then
// the outputs mean nothing.
int64_t quantize_blocks(const void* values, Element element, QuantType type, const BlockRange& range, uint8_t* codes, float* absmax);

// Writes the values of the range, bf16 bits or fp32.
void dequantize_blocks_bf16(const uint8_t* codes, const float* absmax, QuantType type, const BlockRange& range, uint16_t* out, Isa isa);
void dequantize_blocks_f32(const uint8_t* codes, const float* absmax, QuantType type, const BlockRange& range, float* out, Isa isa);

}  // namespace nibble::quant
