// Units: nn/gemv, nn/gemv_cpu
// Products of a few tokens against decoding and multiplying in fp64, for every instruction set, storage and ragged shape.
#include "nn/gemv.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "nn/gemv_cpu.h"
#include "quant/blockwise.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

using test::random_tensor;

struct Shape {
  int64_t out, in;
};

// Whole and ragged rows, rows that begin within a block or a byte, more pieces than scales are rebuilt at a time.
constexpr Shape kShapes[] = {{1, 1}, {3, 2}, {5, 31}, {4, 33}, {7, 64}, {5, 95}, {3, 100}, {6, 189}, {9, 128}, {33, 576}, {4, 608}, {3, 4096}, {2, 4224}};

std::vector<GemvIsa> isas() {
  std::vector<GemvIsa> all{GemvIsa::kPortable};
  if (best_gemv_isa() >= GemvIsa::kAvx512) all.push_back(GemvIsa::kAvx512);
  if (best_gemv_isa() >= GemvIsa::kAvx512Bf16) all.push_back(GemvIsa::kAvx512Bf16);
  return all;
}

// |error| of an fp32 sum of n products, of whatever order: n eps sum |w x|, and the rounding of what a test adds to it.
Tensor bound(const Tensor& w, const Tensor& x, int64_t in) {
  constexpr double kEps = 0x1p-24;
  return at::matmul(x.to(at::kDouble).abs(), w.to(at::kDouble).abs().t()) * (static_cast<double>(in + 2) * kEps) + 1e-30;
}

void expect_within(const Tensor& got, const Tensor& expected, const Tensor& bound, const std::string& what) {
  const Tensor over = (got.to(at::kDouble) - expected).abs() - bound;
  EXPECT_LE(over.max().item<double>(), 0.0) << what;
}

template <class Element>
struct Arranged {
  Tensor x, bytes;
  GemvInput<Element> input;
  Arranged(const Tensor& values, GemvIsa isa) : x(values), bytes(at::empty({arranged_bytes(x.size(0), x.size(1))}, at::kByte)) {
    auto* data = static_cast<const Element*>(x.const_data_ptr());
    arrange_cpu(data, x.size(0), x.size(1), isa, bytes.mutable_data_ptr());
    input = {data, bytes.const_data_ptr(), x.size(0), x.size(1)};
  }
};

template <class Element>
void expect_packed_products(const quant::QuantConfig& config, const Shape& shape, int64_t tokens, GemvIsa isa) {
  const at::ScalarType dtype = sizeof(Element) == 4 ? at::kFloat : at::kBFloat16;
  const quant::QuantizedWeight q = quant::quantize(random_tensor({shape.out, shape.in}, 1, 0.02).to(at::kBFloat16), config);
  const Arranged<Element> x(random_tensor({tokens, shape.in}, 2).to(dtype), isa);
  const Tensor sums = at::full({tokens, shape.out}, 1e9, at::kFloat);
  gemv_packed_cpu(quant::span_of(q), x.input, 0, shape.out, sums.mutable_data_ptr<float>(), shape.out, isa);
  const Tensor decoded = quant::dequantize(q, dtype);
  expect_within(sums, at::matmul(x.x.to(at::kDouble), decoded.to(at::kDouble).t()), bound(decoded, x.x, shape.in),
                fmt::format("{} x {}, {} tokens, blocks of {}, isa {}, {} bytes", shape.out, shape.in, tokens, config.blocksize,
                            static_cast<int>(isa), sizeof(Element)));
}

TEST(GemvPacked, EqualsDecodingAndMultiplying) {
  for (const GemvIsa isa : isas()) {
    for (const Shape& shape : kShapes) {
      for (const int64_t blocksize : {32, 64, 128, 4096}) {
        for (const auto& [type, nested] : {std::pair{QuantType::kNf4, true}, {QuantType::kNf4, false}, {QuantType::kFp4, true}}) {
          const int64_t tokens = 1 + (shape.in + blocksize) % 3;
          expect_packed_products<uint16_t>({type, blocksize, nested}, shape, tokens, isa);
          expect_packed_products<float>({type, blocksize, nested}, shape, tokens, isa);
        }
      }
    }
  }
}

TEST(GemvPacked, TakesOneToEightTokens) {
  for (const GemvIsa isa : isas()) {
    for (int64_t tokens = 1; tokens <= kGemvTokens; ++tokens) {
      expect_packed_products<uint16_t>({}, {6, 320}, tokens, isa);
      expect_packed_products<float>({}, {6, 320}, tokens, isa);
      expect_packed_products<float>({}, {6, 100}, tokens, isa);
    }
  }
}

// How rows are shared among threads, and how many tokens go together, changes no bit.
TEST(GemvPacked, ARowsSumDependsOnItAndItsTokenOnly) {
  const quant::QuantizedWeight q = quant::quantize(random_tensor({10, 192}, 1).to(at::kBFloat16), {});
  const Tensor x = random_tensor({5, 192}, 2).to(at::kBFloat16);
  for (const GemvIsa isa : isas()) {
    const Arranged<uint16_t> all(x, isa);
    const Tensor at_once = at::empty({5, 10}, at::kFloat), apart = at::empty({5, 10}, at::kFloat);
    gemv_packed_cpu(quant::span_of(q), all.input, 0, 10, at_once.mutable_data_ptr<float>(), 10, isa);
    for (int64_t t = 0; t < 5; ++t) {
      const Arranged<uint16_t> one(x.narrow(0, t, 1).contiguous(), isa);
      for (const auto& [begin, end] : {std::pair{0, 3}, {3, 4}, {4, 10}}) {
        gemv_packed_cpu(quant::span_of(q), one.input, begin, end, apart[t].mutable_data_ptr<float>(), 10, isa);
      }
    }
    EXPECT_TRUE(at::equal(at_once, apart)) << static_cast<int>(isa);
  }
}

TEST(GemvDense, EqualsMultiplying) {
  for (const GemvIsa isa : isas()) {
    for (const Shape& shape : kShapes) {
      const int64_t tokens = 1 + shape.in % kGemvTokens;
      const Tensor w = random_tensor({shape.out, shape.in}, 3, 0.1), x = random_tensor({tokens, shape.in}, 4);
      const Tensor sums = at::empty({tokens, shape.out}, at::kFloat);
      const Arranged<float> wide(x, isa);
      gemv_dense_cpu(w.const_data_ptr<float>(), wide.input, 0, shape.out, sums.mutable_data_ptr<float>(), shape.out, isa);
      expect_within(sums, at::matmul(x.to(at::kDouble), w.to(at::kDouble).t()), bound(w, x, shape.in), fmt::format("fp32 {} x {}", shape.out, shape.in));
      const Tensor w16 = w.to(at::kBFloat16), x16 = x.to(at::kBFloat16);
      const Arranged<uint16_t> narrow(x16, isa);
      gemv_dense_cpu(static_cast<const uint16_t*>(w16.const_data_ptr()), narrow.input, 0, shape.out, sums.mutable_data_ptr<float>(), shape.out, isa);
      expect_within(sums, at::matmul(x16.to(at::kDouble), w16.to(at::kDouble).t()), bound(w16, x16, shape.in), fmt::format("bf16 {} x {}", shape.out, shape.in));
    }
  }
}

// Base, bias and adapter together, against fp64 on the rounded input of B.
template <class Element>
void expect_linear(const Linear& linear, int64_t tokens, GemvIsa isa) {
  const at::ScalarType dtype = sizeof(Element) == 4 ? at::kFloat : at::kBFloat16;
  const int64_t out = linear.weight.out(), in = linear.weight.in(), rank = linear.lora->rank();
  const GemvLinear gemv(linear);
  const Arranged<Element> x(random_tensor({tokens, in}, 9).to(dtype), isa);
  const Tensor h = at::empty({tokens, rank}, dtype), sums = at::empty({tokens, out}, at::kFloat);
  auto* h_data = static_cast<Element*>(h.mutable_data_ptr());
  gemv.project_to_rank(x.input, h_data, isa);
  gemv.sum_rows<Element>(x.input, h_data, 0, out, sums.mutable_data_ptr<float>(), out, isa);
  const auto wide = [](const Tensor& t) { return t.to(at::kDouble); };
  const Tensor exact_h = at::matmul(wide(x.x), wide(linear.lora->a).t());
  // One rounding to the dtype beside the sum's own error.
  expect_within(h, exact_h, bound(linear.lora->a, x.x, in) + exact_h.abs() * (dtype == at::kFloat ? 0x1p-24 : 0x1p-8), "h");
  const Tensor w = linear.weight.quantized() ? quant::dequantize(linear.weight.packed, dtype) : linear.weight.dense;
  const Tensor base = at::matmul(wide(x.x), wide(w).t()), update = at::matmul(wide(h), wide(linear.lora->b).t()) * linear.lora->scale;
  const Tensor expected = base + update + (linear.bias.defined() ? wide(linear.bias) : at::zeros({1}, at::kDouble));
  const Tensor parts = bound(w, x.x, in) + (bound(linear.lora->b, h, rank) * linear.lora->scale) + (base.abs() + update.abs() + expected.abs() + 1) * (static_cast<double>(rank) * 0x1p-24);
  expect_within(sums, expected, parts, "y");
}

TEST(GemvLinear, AddsBiasAndAdapter) {
  for (const bool quantized : {false, true}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      test::TinyModelOptions options;
      options.dtype = dtype;
      options.quantized = quantized;
      options.bias = true;
      options.hidden = 64;
      options.r = 5;
      const Model model = test::tiny_model(options);
      for (const GemvIsa isa : isas()) {
        for (const Projection p : {Projection::kQ, Projection::kDown}) {
          const Linear& linear = model.layers[0].projection(p);
          if (dtype == at::kFloat) expect_linear<float>(linear, 3, isa); else expect_linear<uint16_t>(linear, 3, isa);
        }
      }
    }
  }
}

}  // namespace
}  // namespace nibble::nn
