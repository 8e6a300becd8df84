// Plain sums around LibTorch's products: residuals, and an adapter's gradients of a pass into those of a step.
#pragma once

#include "gpu/module.h"
#include "tensor/torch.h"

namespace nibble::nn {

// y += scale * x. SHAPES equal, contiguous; y in x's dtype or fp32, x in bf16 or fp32. NUMERICS one rounding, to y's dtype, of
// scale * x + y. THROWS std::logic_error on other shapes or dtypes.
void add_scaled(const Tensor& y, const Tensor& x, float scale = 1.0f, const gpu::Queue& queue = {});

}  // namespace nibble::nn
