// Blockwise 4-bit quantization and its inverse, bit-exact with bitsandbytes (CUDA semantics, IEEE fp32), on the CPU or, by a
// gpu::Queue, on a CUDA device.
#pragma once

#include "gpu/module.h"
#include "quant/blockwise_span.h"
#include "quant/layout.h"

namespace nibble::quant {

// Throws nibble::ConfigError unless the block size is a power of two in 32..4096.
void check_blocksize(int64_t blocksize);

// Quantizes a weight. SHAPES weight [Out, In] fp32, bf16 or fp16, contiguous, CPU, not empty. NUMERICS docs/numerics.md;
// the same bytes for every number of threads. THROWS nibble::ConfigError for the block size; std::invalid_argument for
// another dtype or layout, and for a value that is not finite (naming its index), since no scale can represent it.
//
// With a queue the weight is on the queue's device, and so is the result, by the module's kernels: the same bytes. Waits for
// the queue once, for the scales' offset, which is kept on the host. THROWS nibble::CudaError too.
QuantizedWeight quantize(const Tensor& weight, const QuantConfig& config, const gpu::Queue& queue = {});

// Writes the decoded weight into `into` ([Out, In], bf16 or fp32, contiguous): value = codebook[code] * absmax in fp32,
// rounded once to the dtype of `into`. THROWS std::invalid_argument where sizes disagree (a scale that is not finite is
// found by validate(), once, not here). With a queue, all tensors are on its device and the work is queued: nothing waits.
void dequantize_into(const QuantizedWeight& q, const Tensor& into, const gpu::Queue& queue = {});
Tensor dequantize(const QuantizedWeight& q, at::ScalarType dtype, const gpu::Queue& queue = {});

// Rows [row_begin, row_end) only, into `into` ([row_end - row_begin, In]): a panel that stays in the cache. Rows need not
// begin where a block does.
void dequantize_rows_into(const QuantizedWeight& q, int64_t row_begin, int64_t row_end, const Tensor& into);

// The weight's parts as plain pointers, for loops that decode as they go (quant/blockwise_cpu.h). THROWS std::invalid_argument where
// sizes disagree.
DequantizeSpan span_of(const QuantizedWeight& q);

// Checks what a file may have wrong: sizes and dtypes of all parts, scales that are finite. THROWS nibble::ConfigError for
// the block size, std::invalid_argument saying which part, what was found and what was expected.
void validate(const QuantizedWeight& q);

}  // namespace nibble::quant
