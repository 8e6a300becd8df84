// The LibTorch headers that nibble uses, and the project's one precompiled header.
//
// Lean on purpose: torch/torch.h costs 16 s a unit, these 2 s. nibble writes its backward pass out, so nothing of
// autograd is here; tests that compare with autograd include torch/torch.h themselves.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

namespace nibble {
using at::Tensor;
}
