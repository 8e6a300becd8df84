#include "nn/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "core/error.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

ModelConfig config_of(int64_t head_dim, double theta = 10000.0) {
  ModelConfig c;
  c.head_dim = head_dim;
  c.rope_theta = theta;
  return c;
}

Tensor int_positions(const std::vector<int32_t>& values) { return at::tensor(values, at::kInt); }

// transformers' apply_rotary_pos_emb, with its dtypes.
Tensor compose(const Tensor& x, const Tensor& positions, const RopeTable& table) {
  const auto rows = [&](const Tensor& t) {
    return at::cat({t, t}, 1).index_select(0, positions).unsqueeze(1).to(x.scalar_type());
  };
  const int64_t half = x.size(2) / 2;
  const Tensor rotated = at::cat({-x.narrow(2, half, half), x.narrow(2, 0, half)}, 2);
  return x * rows(table.cos) + rotated * rows(table.sin);
}

TEST(Rope, FrequenciesFallFromOneToTheInverseOfTheta) {
  const Tensor f = rope_frequencies(config_of(64, 500000.0));
  for (int64_t i = 0; i < 32; ++i) {
    const double exact = std::pow(500000.0, -static_cast<double>(2 * i) / 64);
    EXPECT_NEAR(f[i].item<double>(), exact, 1e-6 * exact);  // fp32 pow of the exponent rounded to fp32
  }
}

TEST(Rope, LinearScalingDividesAllFrequencies) {
  ModelConfig c = config_of(32);
  const Tensor plain = rope_frequencies(c);
  c.rope_scaling = {RopeScaling::Kind::kLinear, 4.0, 1.0, 4.0, 8192};
  EXPECT_TRUE(at::equal(rope_frequencies(c), plain / 4.0));
}

// Llama 3.1: wavelengths below 8192 / 4 stay, above 8192 / 1 are stretched by 8, between them a blend (from the formula of
// the model's release, in double).
TEST(Rope, Llama3ScalingStretchesLongWavelengths) {
  ModelConfig c = config_of(128, 500000.0);
  const Tensor plain = rope_frequencies(c);
  c.rope_scaling = {RopeScaling::Kind::kLlama3, 8.0, 1.0, 4.0, 8192};
  const Tensor scaled = rope_frequencies(c);
  int kept = 0, stretched = 0;
  for (int64_t i = 0; i < 64; ++i) {
    const double f = plain[i].item<double>(), wavelength = 2 * M_PI / f;
    double expected = f;
    if (wavelength > 8192) {
      expected = f / 8;
      ++stretched;
    } else if (wavelength > 2048) {
      const double smooth = (8192 / wavelength - 1) / 3;
      expected = (1 - smooth) * f / 8 + smooth * f;
    } else {
      ++kept;
    }
    EXPECT_NEAR(scaled[i].item<double>(), expected, 1e-6 * expected) << i;
  }
  EXPECT_GT(kept, 20);
  EXPECT_GT(stretched, 20);
}

TEST(Rope, TableHoldsCosinesAndSinesOfFp32Angles) {
  const RopeTable table = make_rope_table(config_of(16), 300);
  const Tensor f = rope_frequencies(config_of(16));
  EXPECT_EQ(table.max_positions(), 300);
  for (int64_t p : {0, 1, 299}) {
    for (int64_t i = 0; i < 8; ++i) {
      const double angle = static_cast<float>(p) * f[i].item<float>();
      EXPECT_NEAR(table.cos[p][i].item<double>(), std::cos(angle), 2e-7);
      EXPECT_NEAR(table.sin[p][i].item<double>(), std::sin(angle), 2e-7);
    }
  }
}

TEST(Rope, RotatesAsTransformersDoes) {
  const Tensor positions = int_positions({0, 1, 2, 0, 1, 49, 3});
  for (int64_t width : {2, 6, 16, 64, 80, 256, 320}) {
    const RopeTable table = make_rope_table(config_of(width), 50);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const Tensor x = test::random_tensor({7, 3, width}, 1).to(dtype), expected = compose(x, positions, table);
      Tensor got = x.clone();
      rope_in_place(got, positions, table, false);
      if (dtype == at::kBFloat16) {
        EXPECT_TRUE(at::equal(got, expected)) << width;
      } else {
        EXPECT_LT((got - expected).abs().max().item<double>(), 4 * 0x1p-23) << width;  // LibTorch may contract a*b+c
      }
    }
  }
}

TEST(Rope, InverseIsTheGradient) {
  const RopeTable table = make_rope_table(config_of(24), 50);
  const Tensor positions = int_positions({5, 0, 17, 49});
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor x = test::random_tensor({4, 2, 24}, 1).to(dtype).set_requires_grad(true), dy = test::random_tensor({4, 2, 24}, 2).to(dtype);
    compose(x, positions, table).backward(dy);
    Tensor dx = dy.clone();
    rope_in_place(dx, positions, table, true);
    const double bound = dtype == at::kFloat ? 4 * 0x1p-23 : 0.04;  // one bf16 rounding of values up to 4
    EXPECT_LT((dx - x.grad()).abs().max().item<double>(), bound);
    Tensor back = dy.clone();
    rope_in_place(back, positions, table, false);
    rope_in_place(back, positions, table, true);
    EXPECT_LT((back - dy).abs().max().item<double>(), dtype == at::kFloat ? 1e-5 : 0.06);
  }
}

TEST(Rope, AcceptsStridedHeadsAndAnyNumberOfThreads) {
  const int before = at::get_num_threads();
  const RopeTable table = make_rope_table(config_of(32), 400);
  std::vector<int32_t> values;
  for (int32_t i = 0; i < 400; ++i) values.push_back(i * 7 % 400);
  const Tensor dense = test::random_tensor({400, 4, 32}, 3).to(at::kBFloat16);
  Tensor expected = dense.clone();
  rope_in_place(expected, int_positions(values), table, false);
  for (int threads : {1, 2, 5}) {
    at::set_num_threads(threads);
    const Tensor fused = at::full({400, 8 * 32}, 7.0, dense.options());
    const Tensor view = fused.narrow(1, 32, 4 * 32).unflatten(1, {4, 32});
    view.copy_(dense);
    rope_in_place(view, int_positions(values), table, false);
    EXPECT_TRUE(at::equal(view, expected));
    EXPECT_TRUE(at::equal(fused.narrow(1, 0, 32), at::full({400, 32}, 7.0, dense.options())));
    EXPECT_TRUE(at::equal(fused.narrow(1, 160, 96), at::full({400, 96}, 7.0, dense.options())));
  }
  at::set_num_threads(before);
}

TEST(Rope, RefusesWhatHasNoMeaning) {
  EXPECT_THROW(make_rope_table(config_of(15), 8), ConfigError);
  EXPECT_THROW(make_rope_table(config_of(0), 8), ConfigError);
  EXPECT_THROW(make_rope_table(config_of(16, -1.0), 8), ConfigError);
  EXPECT_THROW(make_rope_table(config_of(16, 0.0), 8), ConfigError);
  ModelConfig c = config_of(16);
  c.rope_scaling = {RopeScaling::Kind::kLinear, 0.0, 1.0, 4.0, 8192};
  EXPECT_THROW(make_rope_table(c, 8), ConfigError);
  c.rope_scaling = {RopeScaling::Kind::kLlama3, 8.0, 4.0, 4.0, 8192};
  EXPECT_THROW(make_rope_table(c, 8), ConfigError);
  const RopeTable table = make_rope_table(config_of(16), 8);
  const Tensor x = at::zeros({2, 1, 16});
  EXPECT_THROW(rope_in_place(x, int_positions({0, 8}), table, false), std::logic_error);
  EXPECT_THROW(rope_in_place(x, int_positions({0, -1}), table, false), std::logic_error);
  EXPECT_THROW(rope_in_place(x, int_positions({0}), table, false), std::logic_error);
  EXPECT_THROW(rope_in_place(at::zeros({2, 1, 32}), int_positions({0, 1}), table, false), std::logic_error);
  EXPECT_THROW(rope_in_place(x.to(at::kHalf), int_positions({0, 1}), table, false), std::logic_error);
}

}  // namespace
}  // namespace nibble::nn
