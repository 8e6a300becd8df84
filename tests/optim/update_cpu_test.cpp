// Units: optim/adamw_cpu, optim/lion_cpu, optim/adamw_math, optim/lion_math. The rules, and their loops.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "core/bf16.h"
#include "core/rng.h"
#include "optim/adamw_cpu.h"
#include "optim/adamw_math.h"
#include "optim/lion_cpu.h"
#include "optim/lion_math.h"
#include "optim/moment8_tables.h"
#include "quant/blockwise_math.h"
#include "tensor/torch.h"

namespace nibble::optim {
namespace {

const UpdateConfig kConfig{0.9, 0.99, 1e-8, 0.1};

std::vector<float> random_values(int64_t n, uint64_t number, float scale) {
  std::vector<float> values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = scale * (random_uniform({3, RngPurpose::kTest, number}, i) - 0.5f);
  }
  return values;
}

using Update = void (*)(const UpdateSpan&, const UpdateScalars&, const MomentTables&, quant::Isa);
using Scalars = UpdateScalars (*)(const UpdateConfig&, double, int64_t);

// One parameter's arrays, after some updates with one set of instructions.
struct UpdateRun {
  std::vector<float> master, m, v, absmax_m, absmax_v, fp32;
  std::vector<uint8_t> codes_m, codes_v;
  std::vector<uint16_t> bf16;

  UpdateRun(Update update, Scalars scalars, quant::Isa isa, int64_t n, bool bf16_parameter, bool eight_bit)
      : master(random_values(n, 1, 2.0f)), m(master.size()), v(master.size()), absmax_m(master.size() / kMomentBlock + 1),
        absmax_v(absmax_m.size()), fp32(master.size()), codes_m(master.size()), codes_v(master.size()), bf16(master.size()) {
    for (int64_t step = 1; step <= 5; ++step) {
      auto gradient = random_values(n, 10 + static_cast<uint64_t>(step), step == 3 ? 1e-20f : 3.0f);
      // A block without a gradient for a while, and values far apart, so that codes reach both ends of the maps.
      for (size_t i = 0; i < gradient.size(); ++i) {
        if (i / kMomentBlock == 1 && step < 3) gradient[i] = 0.0f;
        if (i % 7 == 0) gradient[i] *= 1e-6f;
      }
      UpdateScalars s = scalars(kConfig, 2e-3, step);
      s.grad_scale = 0.37f;
      UpdateSpan span{};
      span.gradient = gradient.data();
      span.parameter = bf16_parameter ? static_cast<void*>(bf16.data()) : fp32.data();
      span.parameter_is_bf16 = bf16_parameter;
      span.master = master.data();
      span.m = eight_bit ? static_cast<void*>(codes_m.data()) : m.data();
      span.v = eight_bit ? static_cast<void*>(codes_v.data()) : v.data();
      span.absmax_m = eight_bit ? absmax_m.data() : nullptr;
      span.absmax_v = eight_bit ? absmax_v.data() : nullptr;
      span.n = static_cast<int>(n);
      update(span, s, moment_tables(), isa);
    }
  }
  auto all() const { return std::tie(codes_m, codes_v, bf16); }
  auto all_bits() const {
    std::vector<uint32_t> bits;
    for (const auto* values : {&master, &m, &v, &absmax_m, &absmax_v, &fp32}) {
      for (const float value : *values) bits.push_back(std::bit_cast<uint32_t>(value));
    }
    return bits;
  }
};

void expect_all_instruction_sets_agree(Update update, Scalars scalars, bool eight_bit) {
  for (const int64_t n : {0, 1, 7, 15, 16, 17, 31, 33, 64, 255, 256, 257, 511, 513, 1000, 4096}) {
    for (const bool bf16 : {false, true}) {
      const UpdateRun scalar(update, scalars, quant::Isa::kScalar, n, bf16, eight_bit);
      for (const quant::Isa isa : {quant::Isa::kAvx2, quant::Isa::kAvx512}) {
        if (isa > quant::best_isa()) continue;
        const UpdateRun other(update, scalars, isa, n, bf16, eight_bit);
        EXPECT_EQ(scalar.all_bits(), other.all_bits()) << quant::isa_name(isa) << " n " << n;
        EXPECT_EQ(scalar.all(), other.all()) << quant::isa_name(isa) << " n " << n;
      }
    }
  }
}

TEST(AdamWCpu, AllInstructionSetsGiveTheSameBits) {
  expect_all_instruction_sets_agree(adamw_torch_cpu, AdamWTorch::scalars, false);
  expect_all_instruction_sets_agree(adamw_bnb_cpu, AdamWBnb::scalars, false);
  expect_all_instruction_sets_agree(adamw_bnb_cpu, AdamWBnb::scalars, true);
}

TEST(LionCpu, AllInstructionSetsGiveTheSameBits) {
  expect_all_instruction_sets_agree(lion_cpu, Lion::scalars, false);
  expect_all_instruction_sets_agree(lion_cpu, Lion::scalars, true);
}

// The definition, element by element and block by block, with the search that bitsandbytes has.
TEST(AdamWCpu, EightBitStateIsDecodedUpdatedAndEncodedByBlock) {
  const int64_t n = 300;
  const auto gradient = random_values(n, 40, 2.0f), start = random_values(n, 41, 1.0f);
  std::vector<float> master = start, parameter(start.size()), absmax_m{0.5f, 0.25f}, absmax_v{0.125f, 2.0f};
  std::vector<uint8_t> codes_m(start.size()), codes_v(start.size());
  for (size_t i = 0; i < codes_m.size(); ++i) {
    codes_m[i] = static_cast<uint8_t>(i * 37);
    codes_v[i] = static_cast<uint8_t>(i * 101);
  }
  const UpdateScalars s = AdamWBnb::scalars(kConfig, 1e-2, 7);
  std::vector<float> m(start.size()), v(start.size()), expected(start.size());
  std::vector<float> largest_m(2), largest_v(2);
  for (size_t i = 0; i < start.size(); ++i) {
    m[i] = quant::kDynamicMapSigned[codes_m[i]] * absmax_m[i / 256];
    v[i] = quant::kDynamicMapUnsigned[codes_v[i]] * absmax_v[i / 256];
    expected[i] = AdamWBnb::update(s, gradient[i], start[i], m[i], v[i]);
    largest_m[i / 256] = std::max(largest_m[i / 256], std::abs(m[i]));
    largest_v[i / 256] = std::max(largest_v[i / 256], v[i]);
  }
  adamw_bnb_cpu({gradient.data(), parameter.data(), master.data(), codes_m.data(), codes_v.data(), absmax_m.data(),
                 absmax_v.data(), static_cast<int>(n), false},
                s, moment_tables(), quant::Isa::kScalar);
  EXPECT_EQ(master, expected);
  EXPECT_EQ(parameter, expected);
  EXPECT_EQ(absmax_m, largest_m);
  EXPECT_EQ(absmax_v, largest_v);
  for (size_t i = 0; i < start.size(); ++i) {
    const float scaled = m[i] / largest_m[i / 256];
    int code = quant::dynamic_code(scaled, quant::kDynamicMapSigned.data());
    if (std::signbit(quant::kDynamicMapSigned[static_cast<size_t>(code)]) != std::signbit(m[i])) code += m[i] > 0 ? 1 : -1;
    EXPECT_EQ(codes_m[i], static_cast<uint8_t>(code)) << i;
    EXPECT_EQ(codes_v[i], quant::dynamic_code(v[i] / largest_v[i / 256], quant::kDynamicMapUnsigned.data())) << i;
  }
}

TEST(AdamWMath, FirstStepMovesByTheLearningRateAgainstTheSign) {
  const UpdateConfig config{0.9, 0.999, 1e-8, 0.0};
  for (const float gradient : {3.0f, -0.01f}) {
    float m = 0.0f, v = 0.0f;
    // (b) bias correction makes m/sqrt(v) the sign; a handful of fp32 roundings of (1 - 0.999) and its root.
    const float expected = 1.0f - std::copysign(0.5f, gradient);
    EXPECT_NEAR(AdamWTorch::update(AdamWTorch::scalars(config, 0.5, 1), gradient, 1.0f, m, v), expected, 1e-5f);
    m = v = 0.0f;
    EXPECT_NEAR(AdamWBnb::update(AdamWBnb::scalars(config, 0.5, 1), gradient, 1.0f, m, v), expected, 1e-5f);
  }
}

TEST(AdamWMath, TorchDecaysBeforeTheUpdateAndBitsandbytesAfterIt) {
  const UpdateConfig config{0.9, 0.999, 1e-8, 0.1};
  float m = 0.0f, v = 0.0f;
  EXPECT_NEAR(AdamWTorch::update(AdamWTorch::scalars(config, 0.5, 1), 1.0f, 2.0f, m, v), 2.0f * 0.95f - 0.5f, 1e-5f);
  m = v = 0.0f;
  EXPECT_NEAR(AdamWBnb::update(AdamWBnb::scalars(config, 0.5, 1), 1.0f, 2.0f, m, v), (2.0f - 0.5f) * 0.95f, 1e-5f);
}

TEST(AdamWMath, AZeroGradientFromTheStartMovesNothing) {
  const UpdateConfig config{0.9, 0.999, 1e-8, 0.0};
  float m = 0.0f, v = 0.0f;
  EXPECT_EQ(AdamWTorch::update(AdamWTorch::scalars(config, 0.5, 1), 0.0f, 1.25f, m, v), 1.25f);
  EXPECT_EQ(AdamWBnb::update(AdamWBnb::scalars(config, 0.5, 1), 0.0f, 1.25f, m, v), 1.25f);
}

// The two differ in where they decay and in rounding: without decay they agree for as long as anyone looks.
TEST(AdamWMath, BothFollowTheSamePathWithoutDecay) {
  const UpdateConfig config{0.9, 0.999, 1e-8, 0.0};
  float torch = 0.5f, bnb = 0.5f, m1 = 0, v1 = 0, m2 = 0, v2 = 0;
  for (int64_t step = 1; step <= 200; ++step) {
    const float g = random_uniform({3, RngPurpose::kTest, 77}, static_cast<uint64_t>(step)) - 0.4f;
    torch = AdamWTorch::update(AdamWTorch::scalars(config, 1e-2, step), g, torch, m1, v1);
    bnb = AdamWBnb::update(AdamWBnb::scalars(config, 1e-2, step), g, bnb, m2, v2);
    // (b) each step: lr * relative error of step size and moments; 1 - 0.999f is off by 1.3e-5 of itself
    EXPECT_NEAR(torch, bnb, static_cast<float>(step) * 1e-2f * 4e-5f) << step;
  }
}

TEST(LionMath, MovesByTheLearningRateAgainstTheSignOfTheInterpolation) {
  const UpdateScalars s = Lion::scalars({0.9, 0.99, 0.0, 0.0}, 0.25, 1);
  float m = -1.0f, unused = 0.0f;
  EXPECT_EQ(Lion::update(s, 1.0f, 1.0f, m, unused), 1.25f);   // 0.9 * -1 + 0.1 * 1 < 0
  EXPECT_FLOAT_EQ(m, -0.98f);                                  // 0.99 * -1 + 0.01 * 1
  EXPECT_EQ(Lion::update(s, 20.0f, 1.0f, m, unused), 0.75f);  // 0.9 * -0.98 + 0.1 * 20 > 0
  m = 0.0f;
  EXPECT_EQ(Lion::update(s, 0.0f, 1.0f, m, unused), 1.0f);  // no sign, no move
}

TEST(LionMath, DecaysTheWeightNotTheGradient) {
  const UpdateScalars s = Lion::scalars({0.9, 0.99, 0.0, 0.1}, 0.5, 1);
  float m = 0.0f, unused = 0.0f;
  EXPECT_FLOAT_EQ(Lion::update(s, 1e-3f, 2.0f, m, unused), 2.0f * 0.95f - 0.5f);
  EXPECT_EQ(m, (1.0f - 0.99f) * 1e-3f);  // the decay is not in it
}

TEST(RoundToBf16, EqualsTorchAroundEveryTie) {
  // Each exponent, mantissas around the tie, both signs, and the specials.
  for (uint32_t high = 0; high < 0x10000; high += 7) {
    for (const uint32_t low : {0x0000u, 0x0001u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      const auto value = std::bit_cast<float>(high << 16 | low);
      const uint16_t rounded = float_to_bf16(value);
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(std::bit_cast<float>(uint32_t{rounded} << 16)));
      } else {
        EXPECT_EQ(rounded, c10::BFloat16(value).x) << std::hex << (high << 16 | low);
      }
    }
  }
  EXPECT_EQ(float_to_bf16(std::numeric_limits<float>::infinity()), 0x7F80);
  EXPECT_EQ(float_to_bf16(std::numeric_limits<float>::max()), 0x7F80);  // rounds up to infinity
  EXPECT_EQ(float_to_bf16(-0.0f), 0x8000);
}

}  // namespace
}  // namespace nibble::optim
