// The MLP's activation: silu(gate) * up, forward and backward. dtypes: bf16 or fp32, one for all. Rows may be strided.
// With a queue, the tensors are its device's.
#pragma once

#include "gpu/module.h"
#include "tensor/torch.h"

namespace nibble::nn {

// out = silu(gate) * up. SHAPES gate, up, out [T, F]; out may be gate or up. NUMERICS silu in fp32, rounded to the dtype,
// then the product, rounded (as transformers). THROWS std::logic_error on other shapes or dtypes.
void swiglu(const Tensor& gate, const Tensor& up, const Tensor& out, const gpu::Queue& queue = {});

// Gradients of the two inputs, and with `act` the output itself once more, so that forward need not keep it. SHAPES all
// [T, F]; each of dgate, dup and act may be any of dout, gate and up, but they are tensors of their own. NUMERICS as
// LibTorch's autograd rounds; act bit for bit as swiglu. THROWS as swiglu.
void swiglu_backward(const Tensor& dout, const Tensor& gate, const Tensor& up, const Tensor& dgate, const Tensor& dup,
                     const Tensor& act = {}, const gpu::Queue& queue = {});

}  // namespace nibble::nn
