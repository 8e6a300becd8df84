// Causal attention over documents of any length laid end to end, with grouped query heads and an optional sliding window:
// forward, backward, and one step of decoding.
//
// Query i sees the keys j of its own document with i - window < j <= i (window 0: all j <= i). Query head h uses key head
// h / (Hq / Hkv). Forward keeps the log-sum-exp of every row, so that backward rebuilds the probabilities tile by tile and
// nothing of size T x T exists (Dao et al. 2022, FlashAttention; 2023, FlashAttention-2).
//
// Two implementations: bf16 with a head width that is a multiple of 16 runs in tiles on AVX512_BF16, or on AMX if it is one of
// 32 (attention_avx512.h); all else is composed of LibTorch operators in fp32 or fp64 (attention_composed.h).
//
// For all: tensors may have any token and head stride; the elements of a head are adjacent. dtypes bf16, fp32 or fp64, one
// for all but lse. Results are the same bits for any number of threads, and a document's do not depend on its neighbours.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/torch.h"

namespace nibble::nn {

struct AttentionShape {
  int64_t Hq = 0, Hkv = 0, D = 0;  // query heads, key heads (divides Hq), head width
  float scale = 1.0f;              // of the scores
  int64_t window = 0;              // keys a query sees, itself included; 0: all before it
};

// SHAPES q, out [T, Hq, D]; k, v [T, Hkv, D]; lse [Hq, T] fp32, contiguous; document_starts [documents + 1], from 0 to T,
// ascending. THROWS std::logic_error on other shapes, dtypes or document starts.
void attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, std::span<const int32_t> document_starts,
                       const AttentionShape& shape, const Tensor& out, const Tensor& lse);

// Gradients of attention_forward's inputs from dout, the gradient of its output; out and lse as forward left them.
// SHAPES dout, out, dq [T, Hq, D]; dk, dv [T, Hkv, D]. No output may overlap an input. THROWS as attention_forward.
void attention_backward(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                        const Tensor& lse, std::span<const int32_t> document_starts, const AttentionShape& shape,
                        const Tensor& dq, const Tensor& dk, const Tensor& dv);

// Attention of the last token of one document to all of it. SHAPES q, out [1, Hq, D]; k_cache, v_cache [Tc, Hkv, D] with
// Tc >= 1, the token's own key last. bf16 or fp32. NUMERICS scores and sums in fp32. THROWS as attention_forward.
void attention_decode(const Tensor& q, const Tensor& k_cache, const Tensor& v_cache, const AttentionShape& shape,
                      const Tensor& out);

}  // namespace nibble::nn
