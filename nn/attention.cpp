#include "nn/attention.h"

#include "nn/attention_avx512.h"
#include "nn/attention_composed.h"
#include "nn/attention_decode_cpu.h"
#include "nn/attention_math.h"
#include "nn/rows.h"

namespace nibble::nn {
namespace {

void expect_heads(const Tensor& t, int64_t tokens, int64_t heads, int64_t width, at::ScalarType dtype, const char* name) {
  tensor::expect_shape(t, {tokens, heads, width}, name);
  if (t.scalar_type() != dtype || (width > 1 && t.stride(2) != 1)) {
    throw std::logic_error(fmt::format("{} has dtype {} and element stride {}, expected {} and 1", name,
                                       c10::toString(t.scalar_type()), t.stride(2), c10::toString(dtype)));
  }
}

void expect_attention(const AttentionShape& shape, at::ScalarType dtype) {
  if (shape.Hkv <= 0 || shape.Hq <= 0 || shape.D <= 0 || shape.Hq % shape.Hkv != 0 || shape.window < 0) {
    throw std::logic_error(fmt::format("attention: {} query heads, {} key heads, width {}, window {}", shape.Hq, shape.Hkv,
                                       shape.D, shape.window));
  }
  if (dtype != at::kBFloat16 && dtype != at::kFloat && dtype != at::kDouble) {
    throw std::logic_error(fmt::format("attention: dtype {}, expected bf16, fp32 or fp64", c10::toString(dtype)));
  }
}

void expect_documents(std::span<const int32_t> starts, int64_t tokens) {
  bool valid = !starts.empty() && starts.front() == 0 && starts.back() == tokens;
  for (size_t i = 1; valid && i < starts.size(); ++i) valid = starts[i - 1] <= starts[i];
  if (!valid) {
    throw std::logic_error(fmt::format("attention: document starts do not ascend from 0 to {} tokens", tokens));
  }
}

// Calls work(first token, tokens) for every document that has any.
template <class Work>
void each_document(std::span<const int32_t> starts, const Work& work) {
  for (size_t i = 0; i + 1 < starts.size(); ++i) {
    if (starts[i + 1] > starts[i]) work(starts[i], starts[i + 1] - starts[i]);
  }
}

template <class Element>
void decode(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionShape& shape, const Tensor& out) {
  const int64_t first = first_key(k.size(0) - 1, shape.window), keys = k.size(0) - first;
  const Tensor scratch = at::empty({shape.Hq, keys + shape.D}, at::kFloat);
  at::parallel_for(0, shape.Hq, 1, [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h) {
      const int64_t kv = h / (shape.Hq / shape.Hkv);
      float* scores = elements<float>(scratch) + h * (keys + shape.D);
      attention_decode_cpu(DecodeHead<Element>{elements<Element>(q) + h * q.stride(1),
                                               elements<Element>(k) + first * k.stride(0) + kv * k.stride(1),
                                               elements<Element>(v) + first * v.stride(0) + kv * v.stride(1),
                                               elements<Element>(out) + h * out.stride(1), scores, scores + keys, k.stride(0),
                                               v.stride(0), keys, shape.D, shape.scale},
                           best_gemv_isa());
    }
  });
}

// What forward and backward share.
void expect_forward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse,
                    std::span<const int32_t> document_starts, const AttentionShape& shape) {
  const int64_t tokens = q.size(0);
  const at::ScalarType dtype = q.scalar_type();
  expect_attention(shape, dtype);
  expect_heads(q, tokens, shape.Hq, shape.D, dtype, "q");
  expect_heads(k, tokens, shape.Hkv, shape.D, dtype, "k");
  expect_heads(v, tokens, shape.Hkv, shape.D, dtype, "v");
  expect_heads(out, tokens, shape.Hq, shape.D, dtype, "out");
  tensor::expect_shape(lse, {shape.Hq, tokens}, "lse");
  expect_contiguous(lse, at::kFloat, "lse");
  expect_documents(document_starts, tokens);
}

}  // namespace

void attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, std::span<const int32_t> document_starts,
                       const AttentionShape& shape, const Tensor& out, const Tensor& lse) {
  const at::ScalarType dtype = q.scalar_type();
  expect_forward(q, k, v, out, lse, document_starts, shape);
  if (dtype == at::kBFloat16 && attention_avx512_fits(shape)) {
    attention_forward_avx512(q, k, v, document_starts, shape, out, lse, best_tile_set(shape));
    return;
  }
  each_document(document_starts, [&](int64_t first, int64_t n) {
    const auto own = [&](const Tensor& t) { return t.narrow(0, first, n); };
    attention_forward_composed(own(q), own(k), own(v), shape, own(out), lse.narrow(1, first, n));
  });
}

void attention_backward(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                        const Tensor& lse, std::span<const int32_t> document_starts, const AttentionShape& shape,
                        const Tensor& dq, const Tensor& dk, const Tensor& dv) {
  const int64_t tokens = q.size(0);
  const at::ScalarType dtype = q.scalar_type();
  expect_forward(q, k, v, out, lse, document_starts, shape);
  expect_heads(dout, tokens, shape.Hq, shape.D, dtype, "dout");
  expect_heads(dq, tokens, shape.Hq, shape.D, dtype, "dq");
  expect_heads(dk, tokens, shape.Hkv, shape.D, dtype, "dk");
  expect_heads(dv, tokens, shape.Hkv, shape.D, dtype, "dv");
  if (dtype == at::kBFloat16 && attention_avx512_fits(shape)) {
    attention_backward_avx512(dout, q, k, v, out, lse, document_starts, shape, dq, dk, dv, best_tile_set(shape));
    return;
  }
  each_document(document_starts, [&](int64_t first, int64_t n) {
    const auto own = [&](const Tensor& t) { return t.narrow(0, first, n); };
    attention_backward_composed(own(dout), own(q), own(k), own(v), own(out), lse.narrow(1, first, n), shape, own(dq),
                                own(dk), own(dv));
  });
}

void attention_decode(const Tensor& q, const Tensor& k_cache, const Tensor& v_cache, const AttentionShape& shape,
                      const Tensor& out) {
  const at::ScalarType dtype = expect_elements(q, "q");
  expect_attention(shape, dtype);
  expect_heads(q, 1, shape.Hq, shape.D, dtype, "q");
  expect_heads(k_cache, k_cache.size(0), shape.Hkv, shape.D, dtype, "k_cache");
  expect_heads(v_cache, k_cache.size(0), shape.Hkv, shape.D, dtype, "v_cache");
  expect_heads(out, 1, shape.Hq, shape.D, dtype, "out");
  if (k_cache.size(0) == 0) throw std::logic_error("attention_decode: the cache holds no key");
  if (dtype == at::kFloat) {
    decode<float>(q, k_cache, v_cache, shape, out);
  } else {
    decode<uint16_t>(q, k_cache, v_cache, shape, out);
  }
}

}  // namespace nibble::nn
