// RMSNorm with a frozen weight: forward, fused with the residual add, and backward to the input only.
//
// Also the norm of each head (q_norm, k_norm): x viewed as [T*H, D]. Rounding follows transformers' LlamaRMSNorm
// (rms_norm_math.h). Rows may be strided; elements of a row are adjacent. dtypes: bf16 or fp32, the same for x, weight
// and y. Results do not depend on the number of threads. With a queue, the tensors are its device's.
#pragma once

#include "gpu/module.h"
#include "tensor/torch.h"

namespace nibble::nn {

// y = round(x * rstd) * weight. SHAPES x, y [T, C] (may be the same); weight [C]; rstd [T] fp32, or undefined if no
// backward follows. THROWS std::logic_error on other shapes or dtypes, as all of these do.
void rms_norm(const Tensor& x, const Tensor& weight, double eps, const Tensor& y, const Tensor& rstd,
              const gpu::Queue& queue = {});

// x += delta in the dtype, then rms_norm(x): the residual add and the norm that follows it in one pass over memory.
// SHAPES delta [T, C].
void add_rms_norm(const Tensor& x, const Tensor& delta, const Tensor& weight, double eps, const Tensor& y,
                  const Tensor& rstd, const gpu::Queue& queue = {});

// dx = d(loss)/dx, or dx += with accumulate, rounded once. SHAPES dy, x, dx [T, C]; dx may be dy. rstd as forward left it.
void rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd, const Tensor& dx,
                       bool accumulate, const gpu::Queue& queue = {});

}  // namespace nibble::nn
