#include "nn/layer_attention.h"

#include <cmath>

#include "gpu/in_order.h"
#include "nn/attention.h"
#include "nn/torch_ops.h"

namespace nibble::nn {
namespace {

AttentionShape attention_shape(const Layer& layer, const ModelConfig& config) {
  return {config.num_attention_heads, config.num_key_value_heads, config.head_dim,
          static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim))), layer.window};
}

Tensor as_heads(const Tensor& t, const ModelConfig& config) { return t.view({t.size(0), -1, config.head_dim}); }

// A copy for calls that may take their turn after the pass has returned.
std::vector<int32_t> starts_of(const LayerContext& context) {
  return {context.document_starts.begin(), context.document_starts.end()};
}

// Adds the tokens' keys and values to the cache, if there is one. Returns how many tokens it held before.
int64_t append(const LayerSaved& s, KvCache* cache, const gpu::Queue& queue) {
  if (cache == nullptr) return 0;
  const int64_t past = cache->length, tokens = s.k.size(0);
  copy_into(s.k, cache->k.narrow(0, past, tokens), queue);
  copy_into(s.v, cache->v.narrow(0, past, tokens), queue);
  cache->length += tokens;
  return past;
}

void attend_on_gpu(const LayerContext& context, LayerSaved& s, const AttentionShape& shape, Arena& arena, const KvCache* cache) {
  const int64_t tokens = s.q.size(0), width = context.config.q_width();
  if (cache != nullptr) {
    s.attended = attention_decode_gpu(s.q, cache->k.narrow(0, 0, cache->length), cache->v.narrow(0, 0, cache->length),
                                      context.device_documents, shape).view({tokens, width});
    return;
  }
  AttentionOutput got = attention_forward_gpu(s.q, s.k, s.v, context.device_documents, shape);
  s.lse = got.lse;
  s.attended = got.out.view({tokens, width});
  if (context.graphs == nullptr) return;
  const Tensor in_place = arena.take(s.attended.sizes(), s.attended.scalar_type());
  in_place.copy_(s.attended);
  s.attended = in_place;
}

}  // namespace

void layer_attention(const Layer& layer, const LayerContext& context, LayerSaved& s, Workspace& ws, Arena& arena, KvCache* cache) {
  const AttentionShape shape = attention_shape(layer, context.config);
  const gpu::Queue& queue = ws.place.queue;
  const bool decodes = append(s, cache, queue) > 0;
  if (s.q.is_cuda()) return attend_on_gpu(context, s, shape, arena, decodes ? cache : nullptr);
  const int64_t tokens = s.q.size(0);
  s.attended = arena.take({tokens, context.config.q_width()}, s.q.scalar_type());
  s.lse = arena.take({context.config.num_attention_heads, tokens}, at::kFloat);
  const Tensor out = as_heads(s.attended, context.config);
  if (decodes) {
    const Tensor k = cache->k.narrow(0, 0, cache->length), v = cache->v.narrow(0, 0, cache->length);
    gpu::in_order(queue, [q = s.q, k, v, shape, out] { attention_decode(q, k, v, shape, out); });
  } else {
    gpu::in_order(queue, [q = s.q, k = s.k, v = s.v, starts = starts_of(context), shape, out, lse = s.lse] {
      attention_forward(q, k, v, starts, shape, out, lse);
    });
  }
}

void layer_attention_backward(const Layer& layer, const LayerContext& context, const LayerSaved& s, const Tensor& d_attended,
                              const Tensor& dq, const Tensor& dk, const Tensor& dv, const gpu::Queue& queue) {
  const AttentionShape shape = attention_shape(layer, context.config);
  const Tensor dout = as_heads(d_attended, context.config), out = as_heads(s.attended, context.config);
  if (s.q.is_cuda()) {
    attention_backward_gpu(dout, s.q, s.k, s.v, out, s.lse, context.device_documents, shape, dq, dk, dv);
    return;
  }
  gpu::in_order(queue, [dout, q = s.q, k = s.k, v = s.v, out, lse = s.lse, starts = starts_of(context), shape, dq, dk, dv] {
    attention_backward(dout, q, k, v, out, lse, starts, shape, dq, dk, dv);
  });
}

}  // namespace nibble::nn
