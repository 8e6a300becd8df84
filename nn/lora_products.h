// The products of an adapter's factors with the tokens of a pass: a rank of 8 to 64 on one side, hundreds of tokens on the
// other. On a CPU with AMX they are products on tiles, with AVX512_BF16 they run in kernels of their own (nn/lora_products_cpu.h),
// elsewhere as LibTorch's products; with a queue, on its device.
#pragma once

#include "core/round_up.h"
#include "nn/amx_product.h"
#include "nn/arena.h"
#include "tensor/torch.h"

namespace nibble::nn {

// Whether the products of so many tokens, columns of the long operand and ranks run in kernels of their own, in bf16 on this CPU.
bool has_rank_kernels(int64_t tokens, int64_t columns, int64_t rank);

// Which side of a factor is summed over.
enum class Factor : uint8_t { kA, kB };  // A [R, In]: y = x A^T;  B [Out, R]: y = x B

// out = scale * x A^T or scale * x B. SHAPES x [T, K], factor [R, K] or [K, R], out [T, R]. `scratch` holds temporaries.
void project_to_rank(const Tensor& x, const Tensor& factor, Factor which, float scale, const Tensor& out, Arena& scratch,
                     const gpu::Queue& queue = {});

// y += scale * h A or scale * h B^T, rounded once. SHAPES h [T, R], factor [R, N] or [N, R], y [T, N].
void add_from_rank(const Tensor& h, const Tensor& factor, Factor which, float scale, const Tensor& y, Arena& scratch,
                   const gpu::Queue& queue = {});

// What add_from_rank adds, for a product that adds it as it writes (amx_matmul): h and factor filled up with zeros.
// REQUIRES amx_takes_low_rank, contiguous factors
LowRank padded_low_rank(const Tensor& h, const Tensor& factor, Factor which, float scale, Arena& scratch);
inline int64_t padded_low_rank(int64_t rank) { return round_up(rank, kLowRankStep); }

// da += scale * h^T x, or db += scale * x^T h. SHAPES h [T, R], x [T, N], gradient [R, N] or [N, R], fp32.
void add_factor_gradient(const Tensor& h, const Tensor& x, Factor which, float scale, const Tensor& gradient, Arena& scratch,
                         const gpu::Queue& queue = {});

}  // namespace nibble::nn
