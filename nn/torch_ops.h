// LibTorch's operators on tensors of a place, in the order of its queue (gpu/in_order.h): whatever nn has LibTorch compute on a
// device goes through here or through gpu::in_order itself, so that it can be recorded. With an empty queue, at once.
#pragma once

#include "gpu/module.h"
#include "tensor/torch.h"

namespace nibble::nn {

// out = a b. SHAPES a [M, K], b [K, N], out [M, N], in any layout that LibTorch takes; out is written and overlaps neither.
void matmul(const Tensor& a, const Tensor& b, const Tensor& out, const gpu::Queue& queue);

// out = beta c + alpha a b; with beta 0, c is not read. SHAPES c [M, N] or [N], out [M, N], which may be c; else as matmul.
void add_matmul(const Tensor& c, const Tensor& a, const Tensor& b, const Tensor& out, const gpu::Queue& queue, float beta = 1.0f,
                float alpha = 1.0f);

// to = from, in to's dtype. SHAPES equal.
void copy_into(const Tensor& from, const Tensor& to, const gpu::Queue& queue);

// to += from, rounded to to's dtype. SHAPES equal.
void add_into(const Tensor& from, const Tensor& to, const gpu::Queue& queue);

void fill_zero(const Tensor& t, const gpu::Queue& queue);

}  // namespace nibble::nn
