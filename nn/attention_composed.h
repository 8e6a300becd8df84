// Attention of one document composed of LibTorch operators, for any dtype, head width and machine.
//
// One query chunk at a time, so that the scores held are chunk x keys. Matrix products run in fp32 (fp64 for fp64 input):
// a machine without AVX512_BF16 multiplies fp32 faster than bf16. Threads share out key heads.
#pragma once

#include "nn/attention.h"

namespace nibble::nn {

// Arguments are those of attention_forward and attention_backward for one document of n tokens. SHAPES [n, H, D]; lse
// [Hq, n], may be strided.
void attention_forward_composed(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionShape& shape,
                                const Tensor& out, const Tensor& lse);
void attention_backward_composed(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                                 const Tensor& lse, const AttentionShape& shape, const Tensor& dq, const Tensor& dk,
                                 const Tensor& dv);

}  // namespace nibble::nn
