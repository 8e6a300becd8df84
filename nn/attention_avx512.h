// Attention in tiles, on AVX512_BF16 or on AMX: checked tensors in, tasks for the kernels of attention_avx512_cpu.h and
// attention_amx_cpu.h out.
#pragma once

#include "nn/attention.h"

namespace nibble::nn {

enum class TileSet { kAvx512, kAmx };

// Whether this machine, head width and scale are served: AVX512_BF16, D a multiple of 16 up to 256, a scale above 0.
bool attention_avx512_fits(const AttentionShape& shape);

// Whether they are by AMX too, which D must be a multiple of 32 for.
bool attention_amx_fits(const AttentionShape& shape);

// The faster of those that fit. REQUIRES attention_avx512_fits.
TileSet best_tile_set(const AttentionShape& shape);

// As attention_forward and attention_backward, arguments checked by them. REQUIRES bf16 and that `tiles` fit.
void attention_forward_avx512(const Tensor& q, const Tensor& k, const Tensor& v, std::span<const int32_t> document_starts,
                              const AttentionShape& shape, const Tensor& out, const Tensor& lse, TileSet tiles);
void attention_backward_avx512(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                               const Tensor& lse, std::span<const int32_t> document_starts, const AttentionShape& shape,
                               const Tensor& dq, const Tensor& dk, const Tensor& dv, TileSet tiles);

// What a thread of forward and of backward takes, with the best tiles for this width. `longest` document of the batch.
int64_t forward_scratch_bytes(int64_t width);
int64_t backward_scratch_bytes(int64_t longest, int64_t width);

}  // namespace nibble::nn
