// The products of the output head, dense or in 4 bits.
//
// A 4-bit head is decoded panel by panel of the vocabulary, so that it never exists in full: for a vocabulary of 128,256 and
// a width of 4,096 that is 32 MiB instead of 1 GiB. Panels depend on the head's shape only, and their sums are fp32, so the
// numbers are the same for every chunk of rows.
#pragma once

#include "nn/linear.h"

namespace nibble::nn {

// logits = x W^T. SHAPES head [V, C], x [N, C], logits [N, V] (written), in one dtype.
void head_logits(const FrozenWeight& head, const Tensor& x, const Tensor& logits, Workspace& ws);

// dx = dlogits W. SHAPES dlogits [N, V], dx [N, C] (written), in one dtype.
void head_backward(const FrozenWeight& head, const Tensor& dlogits, const Tensor& dx, Workspace& ws);

// Rows of a 4-bit head that are decoded at a time; all of a small one.
int64_t head_panel_rows(const quant::QuantizedWeight& head);

// Rows [begin, end) as a weight of its own, without copying. REQUIRES begin a multiple of head_panel_rows.
quant::QuantizedWeight head_panel(const quant::QuantizedWeight& head, int64_t begin, int64_t end);

}  // namespace nibble::nn
