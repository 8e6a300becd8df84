// Attention on a GPU by LibTorch's kernels, documents of unequal length in one call: FlashAttention-2 where it runs (bf16,
// compute capability 8.0 and later), the memory-efficient kernels elsewhere. Same meaning as nn/attention.h.
#pragma once

#include "nn/attention.h"

namespace nibble::nn {

// A pass's documents as the kernels want them.
struct DeviceDocuments {
  Tensor starts;        // [documents + 1] int32, on the device
  int64_t longest = 0;  // tokens
  bool flash = true;    // the device has compute capability 8.0 or later
};

struct AttentionOutput {
  Tensor out;  // [T, Hq, D]
  Tensor lse;  // as the kernel that ran left it, for backward only
};

AttentionOutput attention_forward_gpu(const Tensor& q, const Tensor& k, const Tensor& v, const DeviceDocuments& documents,
                                      const AttentionShape& shape);

// SHAPES as attention_backward; lse from attention_forward_gpu.
void attention_backward_gpu(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                            const Tensor& lse, const DeviceDocuments& documents, const AttentionShape& shape,
                            const Tensor& dq, const Tensor& dk, const Tensor& dv);

// The one query after k and v, which hold its own key and value last (nn/attention.h, attention_decode). SHAPES q [1, Hq, D];
// k, v [S, Hkv, D] -> [1, Hq, D].
Tensor attention_decode_gpu(const Tensor& q, const Tensor& k, const Tensor& v, const DeviceDocuments& documents,
                            const AttentionShape& shape);

}  // namespace nibble::nn
