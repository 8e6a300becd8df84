// Attention within a layer, forward and backward: the part of a layer that no graph holds. LibTorch allocates in it on a GPU, and
// where documents begin and end is different in every pass.
#pragma once

#include "nn/layer.h"

namespace nibble::nn {

// From s.q, s.k and s.v to s.attended and s.lse, in `arena`; on a GPU in LibTorch's memory, but for s.attended where pieces of the
// layer are graphs, which need it at an address of ours. With `cache` as layer_forward.
void layer_attention(const Layer& layer, const LayerContext& context, LayerSaved& s, Workspace& ws, Arena& arena, KvCache* cache);

// SHAPES d_attended [T, Hq*D]; dq [T, Hq, D], dk, dv [T, Hkv, D], written.
void layer_attention_backward(const Layer& layer, const LayerContext& context, const LayerSaved& s, const Tensor& d_attended,
                              const Tensor& dq, const Tensor& dk, const Tensor& dv, const gpu::Queue& queue);

}  // namespace nibble::nn
