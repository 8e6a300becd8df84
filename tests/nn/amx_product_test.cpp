// Units: nn/amx_product, nn/amx_product_cpu, nn/amx_tile. Products on AMX tiles against sums in double; without AMX, that they step aside.
#include "nn/amx_product.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <initializer_list>

#include "core/amx.h"
#include "nn/amx_product_cpu.h"
#include "quant/blockwise.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

Tensor random_bf16(at::IntArrayRef sizes, uint64_t seed) { return test::random_tensor(sizes, seed).to(at::kBFloat16); }

Tensor wide(const Tensor& t) { return t.to(at::kDouble); }

// |got - expected| within fp32 sums of `terms` products and the roundings to bf16 of what is given of them.
void expect_near(const Tensor& got, const Tensor& expected, const Tensor& magnitude, int64_t terms, std::initializer_list<Tensor> rounded) {
  Tensor allowed = static_cast<double>(terms + 2) * 0x1p-24 * magnitude;
  for (const Tensor& t : rounded) allowed = allowed + 0x1p-8 * t.abs();
  const Tensor gap = (wide(got) - expected).abs();
  EXPECT_TRUE(gap.le(allowed).all().item<bool>()) << "by " << (gap - allowed).max().item<double>();
}

struct Shape {
  int64_t rows, summed, columns;
};

// Whole blocks and every kind of rest of rows and columns; steps of 32, 30, 24, 20, 16 and 8 terms; sums in several parts; rows enough for the
// last panels to be shared by rows.
const Shape kShapes[] = {{64, 96, 64},  {16, 32, 32},   {17, 16, 33},  {31, 64, 1},    {33, 48, 31},    {100, 24, 48}, {47, 100, 65},
                         {63, 8, 16},   {65, 90, 100},  {200, 576, 192}, {96, 2080, 70}, {40, 4100, 40}, {16, 6176, 16},
                         {40, 1024, 1040}, {1100, 64, 330}};

class AmxProduct : public testing::TestWithParam<std::tuple<Shape, bool>> {
 protected:
  AmxProduct() : shape_(std::get<0>(GetParam())) {
    a_ = random_bf16({shape_.rows, shape_.summed}, 1);
    const bool by_rows = std::get<1>(GetParam());
    b_ = by_rows ? random_bf16({shape_.columns, shape_.summed}, 2).t() : random_bf16({shape_.summed, shape_.columns}, 2);
    product_ = wide(a_).mm(wide(b_));
    magnitude_ = wide(a_).abs().mm(wide(b_).abs());
  }
  Tensor nan_out() const { return at::full({shape_.rows, shape_.columns}, NAN, at::kBFloat16); }

  Shape shape_;
  Tensor a_, b_, product_, magnitude_;
};

INSTANTIATE_TEST_SUITE_P(Shapes, AmxProduct, testing::Combine(testing::ValuesIn(kShapes), testing::Bool()), [](const auto& info) {
  const Shape& s = std::get<0>(info.param);
  return fmt::format("{}x{}x{}{}", s.rows, s.summed, s.columns, std::get<1>(info.param) ? "rows" : "columns");
});

TEST_P(AmxProduct, EqualsTheProductInDouble) {
  const Tensor out = nan_out();
  ASSERT_EQ(amx_matmul({}, a_, b_, out, 0.0f, 1.0f), amx_bf16_usable());
  if (!amx_bf16_usable()) {
    EXPECT_TRUE(out.isnan().all().item<bool>());
    return;
  }
  expect_near(out, product_, magnitude_, shape_.summed, {product_});
}

TEST_P(AmxProduct, AddsABiasAMatrixOrItself) {
  if (!amx_bf16_usable()) {
    EXPECT_FALSE(amx_takes(shape_.rows, shape_.summed));
    return;
  }
  const Tensor bias = random_bf16({shape_.columns}, 3), matrix = random_bf16({shape_.rows, shape_.columns}, 4);
  for (const Tensor& c : {bias, matrix}) {
    const Tensor out = nan_out();
    ASSERT_TRUE(amx_matmul(c, a_, b_, out, 1.0f, 0.75f));
    const Tensor added = wide(c).expand({shape_.rows, shape_.columns});
    const Tensor expected = added + 0.75 * product_;
    expect_near(out, expected, added.abs() + magnitude_, shape_.summed, {expected});
  }
  const Tensor itself = matrix.clone(), other = nan_out();
  ASSERT_TRUE(amx_matmul(itself, a_, b_, itself, 1.0f, 0.75f));
  ASSERT_TRUE(amx_matmul(matrix, a_, b_, other, 1.0f, 0.75f));
  EXPECT_TRUE(itself.equal(other));
}

TEST_P(AmxProduct, AddsToAGradientInEitherLayout) {
  if (!amx_takes_sum(shape_.summed)) {
    EXPECT_FALSE(amx_bf16_usable());
    return;
  }
  const Tensor start = test::random_tensor({shape_.rows, shape_.columns}, 5);
  for (const bool transposed : {false, true}) {
    const Tensor gradient = transposed ? start.t().clone(at::MemoryFormat::Contiguous).t() : start.clone();
    amx_add_product(a_, b_, 0.5f, gradient);
    expect_near(gradient, wide(start) + 0.5 * product_, wide(start).abs() + magnitude_, shape_.summed, {});
  }
}

TEST_P(AmxProduct, AddsAProductOfLowRankAsAProductOfItsOwnWould) {
  for (const int64_t rank : {32, 64, 128}) {
    if (!amx_takes_low_rank(shape_.rows, shape_.summed, rank)) {
      EXPECT_TRUE(!amx_bf16_usable() || amx_step(shape_.summed) != kLowRankStep);
      continue;
    }
    const Tensor h = random_bf16({shape_.rows, rank}, 6), bias = random_bf16({shape_.columns}, 7);
    for (const Tensor& factor : {random_bf16({rank, shape_.columns}, 8), random_bf16({shape_.columns, rank}, 9).t()}) {
      const Tensor out = nan_out(), in_turn = nan_out();
      ASSERT_TRUE(amx_matmul(bias, a_, b_, out, 1.0f, 1.0f, {h, factor, 1.7f}));
      const Tensor base = product_ + wide(bias), added = 1.7 * wide(h).mm(wide(factor)), expected = base + added;
      const Tensor magnitude = magnitude_ + 2 * wide(h).abs().mm(wide(factor).abs()) + wide(bias).abs();
      expect_near(out, expected, magnitude, shape_.summed + rank, {base, expected});
      ASSERT_TRUE(amx_matmul(bias, a_, b_, in_turn, 1.0f, 1.0f));
      ASSERT_TRUE(amx_matmul(in_turn, h, factor, in_turn, 1.0f, 1.7f));
      // The second product's sum times 1.7 is rounded to fp32 before it is added, here it is not: where the two cancel, that is left.
      expect_near(out, wide(in_turn), wide(in_turn).abs() + added.abs(), 0, {in_turn, in_turn});
    }
  }
}

TEST_P(AmxProduct, ARowDependsNeitherOnTheOthersNorOnThreads) {
  const Tensor whole = nan_out(), serial = nan_out(), top = nan_out();
  if (!amx_matmul({}, a_, b_, whole, 0.0f, 1.0f)) {
    EXPECT_FALSE(amx_bf16_usable());
    return;
  }
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  ASSERT_TRUE(amx_matmul({}, a_, b_, serial, 0.0f, 1.0f));
  at::set_num_threads(threads);
  EXPECT_TRUE(whole.equal(serial));
  ASSERT_TRUE(amx_matmul({}, a_.narrow(0, 0, 16), b_, top.narrow(0, 0, 16), 0.0f, 1.0f));
  EXPECT_TRUE(whole.narrow(0, 0, 16).equal(top.narrow(0, 0, 16)));
  if (shape_.rows > 16) {
    EXPECT_TRUE(top.narrow(0, 16, shape_.rows - 16).isnan().all().item<bool>()) << "rows that nobody asked for";
  }
}

// Whole weights, several parts of a sum and strips of a part, ragged blocks and groups of columns: the bits of the decoded weight.
TEST(AmxMatmul, DecodesA4BitWeightAsItGoes) {
  struct Case {
    int64_t out, in;
    bool double_quant;
  };
  for (const Case& c : {Case{96, 64, true}, Case{200, 576, true}, Case{576, 192, false}, Case{70, 2112, true}, Case{2112, 70, false},
                        Case{40, 90, true}, Case{330, 300, true}}) {
    quant::QuantConfig config;
    config.double_quant = c.double_quant;
    const quant::QuantizedWeight weight = quant::quantize(random_bf16({c.out, c.in}, 1), config);
    const Tensor decoded = quant::dequantize(weight, at::kBFloat16);
    for (const bool transposed : {true, false}) {
      const Tensor b = transposed ? decoded.t() : decoded;
      const Tensor a = random_bf16({50, b.size(0)}, 2), got = at::full({50, b.size(1)}, NAN, at::kBFloat16), expected = got.clone();
      ASSERT_EQ(amx_matmul({}, a, RightOperand(weight, transposed), got, 0.0f, 1.0f), amx_bf16_usable());
      if (!amx_bf16_usable()) continue;
      ASSERT_TRUE(amx_matmul({}, a, b, expected, 0.0f, 1.0f));
      EXPECT_TRUE(got.equal(expected)) << c.out << "x" << c.in << " transposed " << transposed;
    }
  }
}

TEST(AmxMatmul, WritesAndReadsOnlyItsPartOfWiderRows) {
  const Tensor a = random_bf16({50, 80}, 1), b = random_bf16({96, 128}, 2);
  const Tensor out = at::full({50, 100}, 7.0, at::kBFloat16), part = out.narrow(1, 10, 40);
  const Tensor left = a.narrow(1, 8, 64), right = b.narrow(1, 3, 40).narrow(0, 0, 64);
  if (!amx_matmul({}, left, right, part, 0.0f, 1.0f)) {
    EXPECT_FALSE(amx_bf16_usable());
    return;
  }
  const Tensor expected = wide(left).mm(wide(right));
  expect_near(part, expected, wide(left).abs().mm(wide(right).abs()), 64, {expected});
  EXPECT_TRUE(out.narrow(1, 0, 10).eq(7.0).all().item<bool>());
  EXPECT_TRUE(out.narrow(1, 50, 50).eq(7.0).all().item<bool>());
}

TEST(AmxMatmul, CopiesRowsThatLieInOneSetOfTheCacheAndNoMore) {
  const Tensor a = random_bf16({50, 2048}, 1).narrow(1, 100, 512), b = random_bf16({512, 1040}, 2);
  const Tensor got = at::full({50, 1040}, NAN, at::kBFloat16), expected = got.clone();
  if (!amx_matmul({}, a, b, got, 0.0f, 1.0f)) {
    EXPECT_FALSE(amx_bf16_usable());
    return;
  }
  ASSERT_TRUE(amx_matmul({}, a.contiguous(), b, expected, 0.0f, 1.0f));
  EXPECT_TRUE(got.equal(expected));
  EXPECT_GE(amx_left_bytes(50, 2048, 1024), 2 * 50 * 2048);
  EXPECT_EQ(amx_left_bytes(50, 2048, 1000), 0) << "too few columns to be worth it";
  EXPECT_EQ(amx_left_bytes(50, 576, 1536), 0);
}

TEST(AmxMatmul, LeavesWhatItDoesNotTake) {
  const Tensor b = random_bf16({64, 32}, 2);
  const auto taken = [](const Tensor& a, const Tensor& right, at::ScalarType dtype = at::kBFloat16) {
    const Tensor out = at::zeros({a.size(0), right.size(1)}, dtype);
    const bool did = amx_matmul({}, a, right, out, 0.0f, 1.0f);
    EXPECT_TRUE(did || out.eq(0).all().item<bool>());
    return did;
  };
  EXPECT_EQ(taken(random_bf16({16, 64}, 1), b), amx_bf16_usable());
  EXPECT_FALSE(taken(random_bf16({15, 64}, 1), b)) << "few rows";
  EXPECT_FALSE(taken(random_bf16({64, 32}, 1).t().narrow(0, 0, 32), random_bf16({64, 32}, 2))) << "columns adjacent on the left";
  EXPECT_FALSE(taken(random_bf16({16, 33}, 1), random_bf16({33, 32}, 2))) << "an odd sum";
  EXPECT_FALSE(taken(random_bf16({16, 74}, 1), random_bf16({74, 32}, 2))) << "twice a large prime";
  EXPECT_FALSE(taken(test::random_tensor({16, 64}, 1), b.to(at::kFloat), at::kFloat)) << "fp32";
  EXPECT_FALSE(taken(random_bf16({16, 64}, 1), random_bf16({128, 64}, 2).slice(0, 0, 128, 2).slice(1, 0, 64, 2))) << "gaps in rows";
}

TEST(AmxStep, DividesTheSum) {
  EXPECT_EQ(amx_step(576), 32);
  EXPECT_EQ(amx_step(100), 20);
  EXPECT_EQ(amx_step(16), 16);
  EXPECT_EQ(amx_step(90), 30);
  for (const int64_t none : {0, 1, 6, 33, 74}) EXPECT_EQ(amx_step(none), 0) << none;
}

}  // namespace
}  // namespace nibble::nn
