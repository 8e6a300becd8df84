// Embedding look-up: rows of a table by token id, on the CPU or by a queue's device.
#pragma once

#include "gpu/module.h"
#include "tensor/torch.h"

namespace nibble::nn {

// x[t] = table[ids[t]]. SHAPES table [V, C], ids [T] int32 within the table (on a device nobody checks), x [T, C] (written); all
// contiguous, where the queue works.
void embed(const Tensor& table, const Tensor& ids, const Tensor& x, const gpu::Queue& queue);

}  // namespace nibble::nn
