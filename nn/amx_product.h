// Matrix products of bf16 tensors on AMX tiles (nn/amx_product_cpu.h), for the shapes that they take. LibTorch's own stop at half of
// their rate on such a CPU, and are not there at all where its library does not see the tiles (tensor/onednn.h).
#pragma once

#include "tensor/torch.h"

namespace nibble::nn {

// out = beta c + alpha a b as at::addmm_out has it, with one rounding; c undefined or beta 0: without it. -> false, with out
// untouched, where another kernel must do it: no AMX here, another dtype or device, few rows, a layout or a sum it does not take.
// SHAPES a [M, K], b [K, N] with adjacent rows or columns, c [M, N] or [N], out [M, N], which may be c.
bool amx_matmul(const Tensor& c, const Tensor& a, const Tensor& b, const Tensor& out, float beta, float alpha);

// Whether amx_add_product takes a left operand of this shape and dtype, once its rows are adjacent.
bool amx_takes_product(const Tensor& left, const Tensor& right);

// gradient += scale left right in fp32. SHAPES left [M, K], right [K, N] as above, gradient [M, N] fp32 in any layout.
// REQUIRES amx_takes_product
void amx_add_product(const Tensor& left, const Tensor& right, float scale, const Tensor& gradient);

}  // namespace nibble::nn
