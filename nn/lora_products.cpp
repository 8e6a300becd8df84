#include "nn/lora_products.h"

#include <algorithm>

#include "core/round_up.h"
#include "nn/amx_product.h"
#include "nn/avx512.h"
#include "nn/elementwise.h"
#include "nn/lora_products_cpu.h"
#include "nn/rows.h"
#include "nn/torch_ops.h"

namespace nibble::nn {
namespace {

constexpr int64_t kTokenGrain = 64;  // of a thread's share: whole tiles of 8, and some work
constexpr int64_t kMinTokens = 16;   // below, as in generation, packing the factor would cost more than the product
constexpr int64_t kMaxRank = 64;     // above, LibTorch's products are as fast

// Long operands have rows of `columns` adjacent elements.
bool has_kernels(const Tensor& x, int64_t columns, int64_t rank, const gpu::Queue& queue) {
  return !queue && x.scalar_type() == at::kBFloat16 && x.stride(1) == 1 && x.stride(0) % 2 == 0 && has_rank_kernels(x.size(0), columns, rank);
}

ConstRows rows_of(const Tensor& t) { return {elements<uint16_t>(t), t.stride(0)}; }

// A factor of [summed, columns], or its transpose, as the kernels read it.
const uint32_t* packed(const Tensor& factor, bool transposed, int64_t summed, int64_t columns, Arena& scratch) {
  const Tensor dwords = scratch.take({packed_factor_dwords(summed, columns)}, at::kInt);
  pack_factor_cpu(rows_of(factor), transposed, summed, columns, elements<uint32_t>(dwords));
  return elements<uint32_t>(dwords);
}

// gradient += scale h^T x, where AMX does it. SHAPES gradient [R, N]
bool add_gradient_by_tiles(const Tensor& h, const Tensor& x, float scale, const Tensor& gradient, Arena& scratch) {
  if (x.scalar_type() != at::kBFloat16 || !amx_takes_sum(x.size(0)) || x.stride(1) != 1 || h.stride(1) != 1) return false;
  const Tensor rows = scratch.take({h.size(1), h.size(0)}, h.scalar_type());
  transpose_rows_cpu(rows_of(h), h.size(0), h.size(1), elements<uint16_t>(rows));
  amx_add_product(rows, x, scale, gradient);
  return true;
}

// fn(first, last) for ranges of tokens that begin at a multiple of the kernels' tiles.
template <class Fn>
void each_token_range(int64_t tokens, const Fn& fn) {
  at::parallel_for(0, ceil_div(tokens, kTokenGrain), 1, [&](int64_t begin, int64_t end) {
    fn(begin * kTokenGrain, std::min(tokens, end * kTokenGrain));
  });
}

}  // namespace

bool has_rank_kernels(int64_t tokens, int64_t columns, int64_t rank) {
  static const bool supported = avx512_bf16_supported();
  return supported && tokens >= kMinTokens && columns % 16 == 0 && rank % 2 == 0 && rank <= kMaxRank;
}

void project_to_rank(const Tensor& x, const Tensor& factor, Factor which, float scale, const Tensor& out, Arena& scratch,
                     const gpu::Queue& queue) {
  const int64_t tokens = x.size(0), width = x.size(1), rank = out.size(1);
  tensor::expect_shape(out, {tokens, rank}, "out");
  const Tensor summed = which == Factor::kA ? factor.t() : factor;
  tensor::expect_shape(summed, {width, rank}, "factor");
  if (!queue && amx_matmul({}, x, summed, out, 0.0f, scale)) return;
  if (!has_kernels(x, width, rank, queue) || !out.is_contiguous() || !factor.is_contiguous()) {
    add_matmul(out, x, summed, out, queue, /*beta=*/0.0f, /*alpha=*/scale);
    return;
  }
  ArenaScope scope(scratch);
  const uint32_t* dwords = packed(factor, which == Factor::kA, width, rank, scratch);
  const ConstRows rows = rows_of(x);
  each_token_range(tokens, [&](int64_t first, int64_t last) {
    project_rows_cpu({rows.data + first * rows.stride, rows.stride}, last - first, width, dwords, rank, scale,
                     elements<uint16_t>(out) + first * rank);
  });
}

void add_from_rank(const Tensor& h, const Tensor& factor, Factor which, float scale, const Tensor& y, Arena& scratch,
                     const gpu::Queue& queue) {
  const int64_t tokens = y.size(0), width = y.size(1), rank = h.size(1);
  tensor::expect_shape(h, {tokens, rank}, "h");
  const Tensor summed = which == Factor::kA ? factor : factor.t();
  tensor::expect_shape(summed, {rank, width}, "factor");
  if (!queue && amx_matmul(y, h, summed, y, 1.0f, scale)) return;
  if (!has_kernels(y, width, rank, queue) || !h.is_contiguous() || !factor.is_contiguous()) {
    add_matmul(y, h, summed, y, queue, /*beta=*/1.0f, /*alpha=*/scale);
    return;
  }
  ArenaScope scope(scratch);
  const uint32_t* dwords = packed(factor, which == Factor::kB, rank, width, scratch);
  each_token_range(tokens, [&](int64_t first, int64_t last) {
    add_rows_cpu(elements<uint16_t>(y) + first * y.stride(0), y.stride(0), last - first, width, elements<uint16_t>(h) + first * rank,
                 rank, dwords, scale);
  });
}

LowRank padded_low_rank(const Tensor& h, const Tensor& factor, Factor which, float scale, Arena& scratch) {
  const int64_t rank = h.size(1), padded = padded_low_rank(rank);
  const auto fill_up = [&](const Tensor& t) {
    const Tensor wide = scratch.take({t.size(0), padded}, t.scalar_type());
    pad_rows_cpu(rows_of(t), t.size(0), rank, padded, elements<uint16_t>(wide));
    return wide;
  };
  if (which == Factor::kB) {
    const Tensor wide = fill_up(factor);
    return {fill_up(h), wide.t(), scale};
  }
  const Tensor wide = scratch.take({padded, factor.size(1)}, factor.scalar_type());
  auto* const values = elements<uint16_t>(wide);
  std::fill(std::copy_n(elements<uint16_t>(factor), factor.numel(), values), values + wide.numel(), uint16_t{0});
  return {fill_up(h), wide, scale};
}

void add_factor_gradient(const Tensor& h, const Tensor& x, Factor which, float scale, const Tensor& gradient, Arena& scratch,
                     const gpu::Queue& queue) {
  const int64_t tokens = x.size(0), width = x.size(1), rank = h.size(1);
  tensor::expect_shape(h, {tokens, rank}, "h");
  if (which == Factor::kA) {
    tensor::expect_shape(gradient, {rank, width}, "da");
  } else {
    tensor::expect_shape(gradient, {width, rank}, "db");
  }
  ArenaScope scope(scratch);
  if (!queue && add_gradient_by_tiles(h, x, scale, which == Factor::kA ? gradient : gradient.t(), scratch)) return;
  if (!has_kernels(x, width, rank, queue) || !h.is_contiguous() || !gradient.is_contiguous()) {
    const Tensor product = scratch.take(gradient.sizes(), x.scalar_type());
    if (which == Factor::kA) {
      matmul(h.t(), x, product, queue);
    } else {
      matmul(x.t(), h, product, queue);
    }
    add_scaled(gradient, product, scale, queue);
    return;
  }
  const uint32_t* dwords = packed(h, /*transposed=*/false, tokens, rank, scratch);
  const int64_t strips = width / kOuterColumns, strip = padded_rank(rank) * kOuterColumns;
  const Tensor sums = scratch.take({strips * strip}, at::kFloat);
  at::parallel_for(0, strips, 1, [&](int64_t begin, int64_t end) {
    float* own = elements<float>(sums) + begin * strip;
    outer_sums_cpu(rows_of(x), tokens, begin * kOuterColumns, end * kOuterColumns, dwords, rank, own);
    for (int64_t s = begin; s < end; ++s, own += strip) {
      add_strip_cpu(own, s * kOuterColumns, rank, scale, which == Factor::kB, elements<float>(gradient), gradient.stride(0));
    }
  });
}

}  // namespace nibble::nn
