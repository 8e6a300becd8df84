// Units: nn/lora_products, nn/lora_products_cpu, nn/avx512, nn/avx512_tile
#include "nn/lora_products.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "core/round_up.h"
#include "nn/avx512.h"
#include "nn/lora_products_cpu.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

struct Shape {
  int64_t tokens, width, rank;
};

// Whole tiles and every kind of rest; widths and ranks with and without kernels of their own.
const Shape kShapes[] = {{64, 96, 16}, {1, 32, 8}, {7, 48, 2}, {131, 160, 16}, {77, 64, 24}, {200, 576, 64}, {65, 80, 6}, {40, 90, 16}, {33, 64, 5}, {512, 1536, 16}};

class Products : public testing::TestWithParam<std::tuple<Shape, at::ScalarType>> {
 protected:
  Products() : shape_(std::get<0>(GetParam())), dtype_(std::get<1>(GetParam())) {
    x_ = random({shape_.tokens, shape_.width}, 1);
    h_ = random({shape_.tokens, shape_.rank}, 2);
    a_ = random({shape_.rank, shape_.width}, 3);
    b_ = random({shape_.width, shape_.rank}, 4);
  }
  Tensor random(at::IntArrayRef sizes, uint64_t seed) { return test::random_tensor(sizes, seed).to(dtype_); }
  const Tensor& factor(Factor which) const { return which == Factor::kA ? a_ : b_; }
  static Tensor wide(const Tensor& t) { return t.to(at::kDouble); }
  // [In, R] whichever side it is stored by.
  Tensor columns(Factor which) const { return which == Factor::kA ? wide(a_).t() : wide(b_); }

  // got = start + scale * left right, up to policy (b), fp32 sums of as many products as left has columns, and a rounding of
  // the product and of the result to the dtype.
  void expect_product(const Tensor& got, const Tensor& start, double scale, const Tensor& left, const Tensor& right) {
    const Tensor product = scale * left.mm(right), expected = start + product;
    const double terms = static_cast<double>(left.size(1) + 2);
    const Tensor sums = scale * left.abs().mm(right.abs()) + start.abs();
    const Tensor allowed = terms * 0x1p-24 * sums + rounding() * (product.abs() + expected.abs());
    const Tensor gap = (wide(got) - expected).abs();
    EXPECT_TRUE(gap.le(allowed).all().item<bool>()) << "by " << (gap - allowed).max().item<double>();
  }
  double rounding() const { return dtype_ == at::kBFloat16 ? 0x1p-8 : 0x1p-24; }

  Shape shape_;
  at::ScalarType dtype_;
  Tensor x_, h_, a_, b_;
  Arena scratch_;
};

INSTANTIATE_TEST_SUITE_P(Lora, Products, testing::Combine(testing::ValuesIn(kShapes), testing::Values(at::kBFloat16, at::kFloat)), [](const auto& info) {
  const Shape& s = std::get<0>(info.param);
  return fmt::format("{}x{}r{}{}", s.tokens, s.width, s.rank, std::get<1>(info.param) == at::kFloat ? "fp32" : "bf16");
});

TEST_P(Products, ProjectToRankEqualsTheProductInDouble) {
  for (Factor which : {Factor::kA, Factor::kB}) {
    const Tensor out = at::full({shape_.tokens, shape_.rank}, NAN, x_.options());
    project_to_rank(x_, factor(which), which, 0.75f, out, scratch_);
    expect_product(out, at::zeros({}, at::kDouble), 0.75, wide(x_), columns(which));
  }
}

TEST_P(Products, AddFromRankAddsAndRoundsOnce) {
  for (Factor which : {Factor::kA, Factor::kB}) {
    const Tensor y = x_.clone();
    add_from_rank(h_, factor(which), which, 2.0f, y, scratch_);
    expect_product(y, wide(x_), 2.0, wide(h_), columns(which).t());
  }
}

TEST_P(Products, GradientsAreAddedInFloat) {
  for (Factor which : {Factor::kA, Factor::kB}) {
    const Tensor start = test::random_tensor(factor(which).sizes(), 5), gradient = start.clone();
    add_factor_gradient(h_, x_, which, 0.5f, gradient, scratch_);
    const Tensor left = which == Factor::kA ? h_ : x_, right = which == Factor::kA ? x_ : h_;
    expect_product(gradient, wide(start), 0.5, wide(left).t(), wide(right));
  }
}

TEST_P(Products, RowsBesideTheOutputAreUntouched) {
  const Tensor room = at::full({shape_.tokens + 2, shape_.width}, 3.0, x_.options());
  add_from_rank(h_, b_, Factor::kB, 1.0f, room.narrow(0, 1, shape_.tokens), scratch_);
  EXPECT_TRUE(room[0].eq(3.0).all().item<bool>());
  EXPECT_TRUE(room[shape_.tokens + 1].eq(3.0).all().item<bool>());
}

TEST(LoraProducts, ShortRowsAreTransposedAndFilledUp) {
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{1, 1}, {16, 32}, {17, 5}, {50, 16}, {31, 33}, {100, 64}, {512, 16}}) {
    const Tensor x = test::random_tensor({rows, columns + 3}, 1).to(at::kBFloat16).narrow(1, 2, columns);  // rows with neighbours
    const ConstRows of_x{static_cast<const uint16_t*>(x.data_ptr()), x.stride(0)};
    if (!avx512_bf16_supported()) continue;
    const int64_t padded = round_up(columns + 1, 32);
    const Tensor wide = at::full({rows, padded}, NAN, at::kBFloat16), room = at::full({columns * rows + 1}, 3.0, at::kBFloat16);
    pad_rows_cpu(of_x, rows, columns, padded, static_cast<uint16_t*>(wide.data_ptr()));
    EXPECT_TRUE(wide.narrow(1, 0, columns).equal(x));
    EXPECT_TRUE(wide.narrow(1, columns, padded - columns).eq(0).all().item<bool>());
    transpose_rows_cpu(of_x, rows, columns, static_cast<uint16_t*>(room.data_ptr()));
    EXPECT_TRUE(room.narrow(0, 0, columns * rows).view({columns, rows}).equal(x.t())) << rows << "x" << columns;
    EXPECT_EQ(room[columns * rows].item<float>(), 3.0f);
  }
}

TEST(LoraProducts, ShapesThatDoNotFitAreRefused) {
  Arena scratch;
  const Tensor x = at::zeros({4, 32}, at::kBFloat16), h = at::zeros({4, 8}, at::kBFloat16), a = at::zeros({8, 48}, at::kBFloat16);
  EXPECT_THROW(project_to_rank(x, a, Factor::kA, 1.0f, h, scratch), std::exception);
  EXPECT_THROW(add_from_rank(h, a, Factor::kA, 1.0f, x, scratch), std::exception);
  EXPECT_THROW(add_factor_gradient(h, x, Factor::kA, 1.0f, at::zeros({8, 48}), scratch), std::exception);
}

}  // namespace
}  // namespace nibble::nn
