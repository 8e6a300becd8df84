#include "nn/gemv.h"

#include "nn/rows.h"
#include "nn/vectorize.h"
#include "quant/blockwise.h"

namespace nibble::nn {
namespace {

constexpr int64_t kGrainElements = 32 * 1024;  // below this, waking a second thread costs more than it saves

template <class Element>
NIBBLE_INLINE void add_elements(const Element* x, float factor, float* sums, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sums[i] += factor * load_element(x, i);
}
NIBBLE_CLONES void add_scaled_row(const float* x, float factor, float* sums, int64_t n) { add_elements(x, factor, sums, n); }
NIBBLE_CLONES void add_scaled_row(const uint16_t* x, float factor, float* sums, int64_t n) { add_elements(x, factor, sums, n); }

}  // namespace

int64_t gemv_grain(int64_t in) { return std::max<int64_t>(1, kGrainElements / std::max<int64_t>(1, in)); }

GemvLinear::GemvLinear(const FrozenWeight& weight) : in_(weight.in()), out_(weight.out()) {
  if (weight.quantized()) {
    packed_ = quant::span_of(weight.packed);
    return;
  }
  expect_contiguous(weight.dense, expect_rows(weight.dense, "weight"), "weight");
  dense_ = weight.dense.const_data_ptr();
}

GemvLinear::GemvLinear(const Linear& linear) : GemvLinear(linear.weight) {
  if (linear.bias.defined()) bias_ = linear.bias.const_data_ptr();
  if (!linear.lora) return;
  const Lora& lora = *linear.lora;
  rank_ = lora.rank();
  scale_ = lora.scale;
  expect_contiguous(lora.a, lora.a.scalar_type(), "lora_A");
  a_ = lora.a.const_data_ptr();
  b_ = lora.b.t().contiguous();
}

template <class Element>
void GemvLinear::project_to_rank(const GemvInput<Element>& x, Element* h, GemvIsa isa) const {
  constexpr int64_t kRanksAtOnce = 64;  // sums on the stack
  at::parallel_for(0, rank_, gemv_grain(in_), [&](int64_t begin, int64_t end) {
    float sums[kGemvTokens * kRanksAtOnce];
    for (int64_t first = begin; first < end; first += kRanksAtOnce) {
      const int64_t n = std::min(kRanksAtOnce, end - first);
      gemv_dense_cpu(static_cast<const Element*>(a_) + first * in_, x, 0, n, sums, kRanksAtOnce, isa);
      for (int64_t t = 0; t < x.tokens; ++t) {
        for (int64_t r = 0; r < n; ++r) store_element(h, t * rank_ + first + r, sums[t * kRanksAtOnce + r]);
      }
    }
  });
}

template <class Element>
void GemvLinear::sum_rows(const GemvInput<Element>& x, const Element* h, int64_t begin, int64_t end, float* sums, int64_t stride,
                          GemvIsa isa) const {
  if (dense_ == nullptr) {
    gemv_packed_cpu(packed_, x, begin, end, sums, stride, isa);
  } else {
    gemv_dense_cpu(static_cast<const Element*>(dense_), x, begin, end, sums, stride, isa);
  }
  const auto* bias = static_cast<const Element*>(bias_);
  const Element* b = rank_ > 0 ? elements<Element>(b_) : nullptr;
  for (int64_t t = 0; t < x.tokens; ++t) {
    float* row = sums + t * stride;
    if (bias != nullptr) add_scaled_row(bias + begin, 1.0f, row + begin, end - begin);
    for (int64_t r = 0; r < rank_; ++r) {
      add_scaled_row(b + r * out_ + begin, scale_ * load_element(h, t * rank_ + r), row + begin, end - begin);
    }
  }
}

template void GemvLinear::project_to_rank(const GemvInput<float>&, float*, GemvIsa) const;
template void GemvLinear::project_to_rank(const GemvInput<uint16_t>&, uint16_t*, GemvIsa) const;
template void GemvLinear::sum_rows(const GemvInput<float>&, const float*, int64_t, int64_t, float*, int64_t, GemvIsa) const;
template void GemvLinear::sum_rows(const GemvInput<uint16_t>&, const uint16_t*, int64_t, int64_t, float*, int64_t, GemvIsa) const;

}  // namespace nibble::nn
