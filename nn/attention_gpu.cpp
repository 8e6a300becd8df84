#include "nn/attention_gpu.h"

#include <ATen/ops/_efficient_attention_backward.h>
#include <ATen/ops/_efficient_attention_forward.h>
#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>

#include <algorithm>

namespace nibble::nn {
namespace {

constexpr int64_t kNoMask = 0, kCausalFromTopLeft = 1;  // custom_mask_type of the memory-efficient kernels
constexpr int64_t kFlashWidth = 256;       // the widest head that FlashAttention-2 takes

bool takes_flash(const Tensor& q, const DeviceDocuments& documents, const AttentionShape& shape) {
  return documents.flash && q.scalar_type() == at::kBFloat16 && shape.D % 8 == 0 && shape.D <= kFlashWidth;
}

// Keys to the left of the token itself; nullopt: all of them.
std::optional<int64_t> left_of_token(const AttentionShape& shape) {
  return shape.window > 0 ? std::optional(shape.window - 1) : std::nullopt;
}
std::optional<int64_t> window(const AttentionShape& shape) {
  return shape.window > 0 ? std::optional(shape.window) : std::nullopt;
}

// The memory-efficient kernels know no grouped heads: each key head stands once for every query head that uses it.
Tensor for_query_heads(const Tensor& t, const AttentionShape& shape) {
  const int64_t group = shape.Hq / shape.Hkv;
  return group == 1 ? t.unsqueeze(0) : t.unsqueeze(2).expand({-1, -1, group, -1}).reshape({1, t.size(0), shape.Hq, shape.D});
}

// Its gradient: the sum over the query heads.
void sum_query_heads(const Tensor& d, const AttentionShape& shape, const Tensor& out) {
  const int64_t group = shape.Hq / shape.Hkv;
  const Tensor whole = d.view({-1, shape.Hkv, group, shape.D});
  out.copy_(group == 1 ? whole.squeeze(2) : whole.sum(2, /*keepdim=*/false, at::kFloat));
}

// No dropout: the kernels want a state of random numbers, of the dtype that their forward gives back, and do not read it.
Tensor unused_random_state(const Tensor& q) { return at::empty({2}, q.options().dtype(at::kUInt64)); }

}  // namespace

AttentionOutput attention_forward_gpu(const Tensor& q, const Tensor& k, const Tensor& v, const DeviceDocuments& documents,
                                      const AttentionShape& shape) {
  if (takes_flash(q, documents, shape)) {
    auto [out, lse, state, unused, debug] = at::_flash_attention_forward(
        q, k, v, documents.starts, documents.starts, documents.longest, documents.longest, /*dropout_p=*/0.0,
        /*is_causal=*/true, /*return_debug_mask=*/false, shape.scale, left_of_token(shape), std::optional<int64_t>(0));
    return {out, lse};
  }
  auto [out, lse, seed, offset, longest_q, longest_k] = at::_efficient_attention_forward(
      q.unsqueeze(0), for_query_heads(k, shape), for_query_heads(v, shape), /*bias=*/std::nullopt, documents.starts,
      documents.starts, documents.longest, documents.longest, /*dropout_p=*/0.0, kCausalFromTopLeft,
      /*compute_log_sumexp=*/true, shape.scale, /*seqlen_k=*/std::nullopt, window(shape));
  return {out.squeeze(0), lse};
}

void attention_backward_gpu(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                            const Tensor& lse, const DeviceDocuments& documents, const AttentionShape& shape,
                            const Tensor& dq, const Tensor& dk, const Tensor& dv) {
  if (takes_flash(q, documents, shape)) {
    const auto [gq, gk, gv] = at::_flash_attention_backward(
        dout, q, k, v, out, lse, documents.starts, documents.starts, documents.longest, documents.longest, /*dropout_p=*/0.0,
        /*is_causal=*/true, unused_random_state(q), unused_random_state(q), shape.scale, left_of_token(shape),
        std::optional<int64_t>(0));
    dq.copy_(gq);
    dk.copy_(gk);
    dv.copy_(gv);
    return;
  }
  const Tensor state = at::empty({}, q.options().dtype(at::kLong));
  const auto [gq, gk, gv, gbias] = at::_efficient_attention_backward(
      dout.unsqueeze(0), q.unsqueeze(0), for_query_heads(k, shape), for_query_heads(v, shape), /*bias=*/std::nullopt,
      out.unsqueeze(0), documents.starts, documents.starts, documents.longest, documents.longest, lse, /*dropout_p=*/0.0, state,
      state, kCausalFromTopLeft, /*bias_requires_grad=*/false, shape.scale, /*num_splits_key=*/std::nullopt, window(shape));
  dq.copy_(gq.squeeze(0));
  sum_query_heads(gk.squeeze(0), shape, dk);
  sum_query_heads(gv.squeeze(0), shape, dv);
}

Tensor attention_decode_gpu(const Tensor& q, const Tensor& k, const Tensor& v, const DeviceDocuments& documents,
                            const AttentionShape& shape) {
  // One query sees all keys, or the last `window`: no mask.
  const int64_t past = k.size(0), seen = shape.window > 0 ? std::min(shape.window, past) : past;
  const Tensor keys = k.narrow(0, past - seen, seen), values = v.narrow(0, past - seen, seen);
  if (takes_flash(q, documents, shape)) {
    return std::get<0>(at::_flash_attention_forward(
        q.unsqueeze(0), keys.unsqueeze(0), values.unsqueeze(0), /*cum_seq_q=*/std::nullopt, /*cum_seq_k=*/std::nullopt, /*max_q=*/1,
        /*max_k=*/seen, /*dropout_p=*/0.0, /*is_causal=*/false, /*return_debug_mask=*/false, shape.scale)).squeeze(0);
  }
  return std::get<0>(at::_efficient_attention_forward(
      q.unsqueeze(0), for_query_heads(keys, shape), for_query_heads(values, shape), /*bias=*/std::nullopt,
      /*cu_seqlens_q=*/std::nullopt, /*cu_seqlens_k=*/std::nullopt, /*max_seqlen_q=*/std::nullopt, /*max_seqlen_k=*/std::nullopt,
      /*dropout_p=*/0.0, kNoMask, /*compute_log_sumexp=*/false, shape.scale)).squeeze(0);
}

}  // namespace nibble::nn
