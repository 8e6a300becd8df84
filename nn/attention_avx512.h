// Attention on AVX512_BF16: checked tensors in, tasks for the kernels of attention_avx512_cpu.h out.
#pragma once

#include "nn/attention.h"

namespace nibble::nn {

// Whether this machine and head width are served: AVX512_BF16, D a multiple of 16 up to 256.
bool attention_avx512_fits(const AttentionShape& shape);

// As attention_forward and attention_backward, arguments checked by them. REQUIRES bf16 and attention_avx512_fits.
void attention_forward_avx512(const Tensor& q, const Tensor& k, const Tensor& v, std::span<const int32_t> document_starts,
                              const AttentionShape& shape, const Tensor& out, const Tensor& lse);
void attention_backward_avx512(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                               const Tensor& lse, std::span<const int32_t> document_starts, const AttentionShape& shape,
                               const Tensor& dq, const Tensor& dk, const Tensor& dv);

}  // namespace nibble::nn
