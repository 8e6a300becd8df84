// Matrix products of bf16 tensors on AMX tiles (nn/amx_product_cpu.h), for the shapes that they take. LibTorch's own are
// as fast at best (docs/benchmarks.md), and do without tiles where its library must not trust them (tensor/onednn.h).
#pragma once

#include "nn/amx_product_cpu.h"
#include "quant/layout.h"
#include "tensor/torch.h"

namespace nibble::nn {

inline constexpr int64_t kMostLowRank = 128;

// A product of low rank that is added to another one: scale h factor. SHAPES h [M, R], factor [R, N], adjacent rows or columns; R a
// multiple of kLowRankStep, filled up with zeros, and at most kMostLowRank.
struct LowRank {
  Tensor h, factor;
  float scale = 0.0f;
};

// A right operand [K, N] in bf16: a tensor with adjacent rows or columns, or a 4-bit weight, which is decoded as it is packed, panel by
// panel. It refers to the weight.
struct RightOperand {
  RightOperand(const Tensor& b) : dense(b) {}  // NOLINT(google-explicit-constructor): a tensor is an operand as it is
  // The weight [Out, In], or its transpose.
  RightOperand(const quant::QuantizedWeight& weight, bool is_transposed) : packed(&weight), transposed(is_transposed) {}
  int64_t columns() const { return packed == nullptr ? dense.size(1) : transposed ? packed->out : packed->in; }

  Tensor dense;
  const quant::QuantizedWeight* packed = nullptr;
  bool transposed = false;
};

// out = beta c + alpha a b as at::addmm_out has it, with one rounding; c undefined or beta 0: without it. `low` is added to what was
// rounded, and the sum rounded again: an adapter of small values is then lost as PEFT loses it, on every machine alike.
// -> false, with out untouched, where another kernel must do it: no AMX here, another dtype or device, few rows, a layout or a sum
// that it does not take (with `low`, one of another step than kLowRankStep).
// SHAPES a [M, K], b [K, N], c [M, N] or [N], out [M, N], which may be c.
bool amx_matmul(const Tensor& c, const Tensor& a, const RightOperand& b, const Tensor& out, float beta, float alpha,
                const LowRank& low = {});

// Whether amx_matmul takes bf16 tensors of so many rows and terms of a sum, and with a product of this rank besides.
bool amx_takes(int64_t rows, int64_t summed);
bool amx_takes_low_rank(int64_t rows, int64_t summed, int64_t rank);

// What a thread keeps for a product of these sizes, at most: panels and sums of parts.
int64_t amx_thread_bytes(int64_t rows, int64_t summed, int64_t columns);
// What the thread that asks for it keeps besides, at most: the left operand, where its rows are a multiple of 4 KiB apart.
int64_t amx_left_bytes(int64_t rows, int64_t summed, int64_t columns);

// Whether amx_add_product takes bf16 tensors with so many terms of a sum.
bool amx_takes_sum(int64_t summed);

// gradient += scale left right in fp32. SHAPES left [M, K] with adjacent rows, right [K, N] with adjacent rows or columns, gradient
// [M, N] fp32, its rows or columns adjacent. REQUIRES amx_takes_sum(K)
void amx_add_product(const Tensor& left, const Tensor& right, float scale, const Tensor& gradient);

}  // namespace nibble::nn
