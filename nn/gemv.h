// Linears as one to eight tokens go through them on the CPU: y = W x + bias + scale * B (A x), the base in 4 bits or dense,
// the adapter unmerged. For text generation; see nn/gemv_cpu.h for the kernels.
#pragma once

#include "nn/gemv_cpu.h"
#include "nn/linear.h"

namespace nibble::nn {

// What the kernels need of a linear. REQUIRES that its tensors outlive this, on the CPU and contiguous, bf16 or fp32.
class GemvLinear {
 public:
  GemvLinear() = default;
  explicit GemvLinear(const Linear& linear);
  explicit GemvLinear(const FrozenWeight& weight);

  int64_t in() const { return in_; }
  int64_t out() const { return out_; }
  int64_t rank() const { return rank_; }  // 0: no adapter

  // h = A x, rounded to the dtype. SHAPES h [tokens, rank], contiguous. Threads of its own where it is large.
  template <class Element>
  void project_to_rank(const GemvInput<Element>& x, Element* h, GemvIsa isa) const;

  // sums[t * stride + o] = W[o] . x[t] + bias[o] + scale * B[o] . h[t], not rounded, for rows o of [begin, end). One thread's
  // share. h as project_to_rank left it; not read without an adapter.
  template <class Element>
  void sum_rows(const GemvInput<Element>& x, const Element* h, int64_t begin, int64_t end, float* sums, int64_t stride, GemvIsa isa) const;

 private:
  quant::DequantizeSpan packed_;
  const void* dense_ = nullptr;  // null: packed_
  const void* bias_ = nullptr;
  const void* a_ = nullptr;      // [R, In]
  Tensor b_;                     // [R, Out]: transposed, so that rows are summed without crossing lanes
  int64_t in_ = 0, out_ = 0, rank_ = 0;
  float scale_ = 1.0f;
};

// Rows that one thread takes at least, of a weight with so many columns.
int64_t gemv_grain(int64_t in);

}  // namespace nibble::nn
