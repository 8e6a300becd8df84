// Blockwise quantization on the CPU over plain pointers, on ranges of blocks or elements, so that callers share the work
// among threads as they like: what is written depends on the data only.
//
// Every instruction set gives the same bits. What a vector loop does in another way than quant/blockwise_math.h (finding a
// code by a tree of table look-ups, rounding a block's 16 products once instead of every value) is exact.
#pragma once

#include <cstdint>

#include "quant/blockwise_span.h"

namespace nibble::quant {

enum class Isa : uint8_t { kScalar, kAvx2, kAvx512 };  // a CPU that has one has those before it
Isa best_isa();                                        // what this CPU can run
const char* isa_name(Isa isa);                         // "avx512"

// Encodes blocks [block_begin, block_end). Returns the first of them that holds a NaN or an infinity (its outputs and those
// of later blocks are then not written), or -1. REQUIRES an isa that this CPU has, here and below.
int64_t quantize_blocks_cpu(const QuantizeSpan& span, int64_t block_begin, int64_t block_end, Isa isa);

// The flat index of the first value of a block that is not finite, or -1.
int64_t find_not_finite_cpu(const QuantizeSpan& span, int64_t block);

// The mean of absmax [blocks], summed in fp64 as a binary tree over neighbours, ((0 1) (2 3)) ((4 5) ...): what any cut into
// aligned parts of a power of two gives, so that CUDA's blocks add up to the same bits. REQUIRES blocks > 0.
float mean_scale_cpu(const float* absmax, int64_t blocks);

// Quantizes scales: absmax [blocks] minus offset to codes of the signed dynamic map, for nested blocks
// [nested_begin, nested_end) of 256 scales each. REQUIRES absmax and offset finite and not negative.
void quantize_scales_cpu(const float* absmax, int64_t blocks, float offset, int64_t nested_begin, int64_t nested_end,
                         uint8_t* absmax_codes, float* nested_absmax);

// Decodes elements [begin, end) of the flat weight into out[0 .. end-begin), fp32 or bf16 bits.
// REQUIRES 0 <= begin <= end <= numel.
void dequantize_cpu(const DequantizeSpan& span, int64_t begin, int64_t end, float* out, Isa isa);
void dequantize_cpu(const DequantizeSpan& span, int64_t begin, int64_t end, uint16_t* out_bf16, Isa isa);

}  // namespace nibble::quant
