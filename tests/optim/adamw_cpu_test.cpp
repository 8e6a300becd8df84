#include "core/bf16.h"
#include "optim/adamw_cpu.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "core/rng.h"
#include "tensor/torch.h"

namespace nibble::optim {
namespace {

std::vector<float> random_values(int64_t n, uint64_t number, float scale) {
  std::vector<float> values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = scale * (random_uniform({3, RngPurpose::kTest, number}, i) - 0.5f);
  }
  return values;
}

// One parameter's arrays, after some updates with one set of instructions.
struct UpdateRun {
  std::vector<float> master, m, v, fp32;
  std::vector<uint16_t> bf16;

  UpdateRun(AdamWIsa isa, int64_t n, bool bf16_parameter)
      : master(random_values(n, 1, 2.0f)), m(master.size()), v(master.size()), fp32(master.size()), bf16(master.size()) {
    for (int64_t step = 1; step <= 5; ++step) {
      const auto gradient = random_values(n, 10 + static_cast<uint64_t>(step), step == 3 ? 1e-20f : 3.0f);
      const auto scalars = adamw_scalars(2e-3, 0.9, 0.999, 1e-8, 0.1, step, 0.37f);
      adamw_cpu({master.data(), m.data(), v.data(), gradient.data(), bf16_parameter ? bf16.data() : nullptr,
                 bf16_parameter ? nullptr : fp32.data(), n},
                scalars, isa);
    }
  }
};

TEST(AdamWCpu, AllInstructionSetsGiveTheSameBits) {
  std::vector<AdamWIsa> sets;
  const AdamWIsa best = best_adamw_isa();
  if (best >= AdamWIsa::kAvx2) sets.push_back(AdamWIsa::kAvx2);
  if (best >= AdamWIsa::kAvx512) sets.push_back(AdamWIsa::kAvx512);
  for (const int64_t n : {0, 1, 7, 15, 16, 17, 31, 33, 64, 1000, 4097}) {
    for (const bool bf16 : {false, true}) {
      const UpdateRun scalar(AdamWIsa::kScalar, n, bf16);
      for (const AdamWIsa isa : sets) {
        const UpdateRun other(isa, n, bf16);
        EXPECT_EQ(scalar.master, other.master) << adamw_isa_name(isa) << " n " << n;
        EXPECT_EQ(scalar.m, other.m) << adamw_isa_name(isa) << " n " << n;
        EXPECT_EQ(scalar.v, other.v) << adamw_isa_name(isa) << " n " << n;
        EXPECT_EQ(bf16 ? scalar.bf16 == other.bf16 : scalar.fp32 == other.fp32, true) << adamw_isa_name(isa);
      }
    }
  }
}

TEST(AdamWMath, FirstStepMovesByTheLearningRateAgainstTheSign) {
  const auto scalars = adamw_scalars(0.5, 0.9, 0.999, 1e-8, 0.0, 1, 1.0f);
  for (const float gradient : {3.0f, -0.01f}) {
    float m = 0.0f, v = 0.0f;
    // (b) bias correction makes m/sqrt(v) the sign; a handful of fp32 roundings of (1 - 0.999) and its root.
    EXPECT_NEAR(adamw_element(scalars, gradient, 1.0f, m, v), 1.0f - std::copysign(0.5f, gradient), 1e-5f);
  }
}

TEST(AdamWMath, DecaysBeforeTheUpdate) {
  // With decay first: 2*(1-0.5*0.1) - 0.5; with decay after it: (2-0.5)*(1-0.05).
  const auto scalars = adamw_scalars(0.5, 0.9, 0.999, 1e-8, 0.1, 1, 1.0f);
  float m = 0.0f, v = 0.0f;
  EXPECT_NEAR(adamw_element(scalars, 1.0f, 2.0f, m, v), 1.4f, 1e-5f);
}

TEST(AdamWMath, AZeroGradientFromTheStartMovesNothing) {
  const auto scalars = adamw_scalars(0.5, 0.9, 0.999, 1e-8, 0.0, 1, 1.0f);
  float m = 0.0f, v = 0.0f;
  EXPECT_EQ(adamw_element(scalars, 0.0f, 1.25f, m, v), 1.25f);
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
