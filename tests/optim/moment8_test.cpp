// Units: optim/moment8_tables, optim/moment8_math
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "core/rng.h"
#include "optim/moment8_tables.h"
#include "quant/blockwise_math.h"

namespace nibble::optim {
namespace {

// Values where the decision may change: every code's value and every midpoint, with its neighbours, and random ones.
template <class Visit>
void each_critical_value(const std::array<float, 256>& map, const Visit& visit) {
  for (size_t k = 0; k < 256; ++k) {
    for (const float centre : {map[k], k < 255 ? (map[k] + map[k + 1]) * 0.5f : 1.0f}) {
      float value = centre;
      for (int i = 0; i < 3; ++i) value = std::nextafter(value, -2.0f);
      for (int i = 0; i < 7; ++i) {
        visit(value);
        value = std::nextafter(value, 2.0f);
      }
    }
  }
  for (uint64_t i = 0; i < 100'000; ++i) {
    const float x = 2.0f * random_uniform({5, RngPurpose::kTest, 1}, i) - 1.0f;
    visit(x);
    visit(x * x * x * x * x);
  }
}

TEST(NearestCode, DecidesAsTheKernelsSearchDoes) {
  for (const auto& [codes, map] : {std::pair(moment_tables().m, quant::kDynamicMapSigned),
                                   std::pair(moment_tables().v, quant::kDynamicMapUnsigned)}) {
    each_critical_value(map, [&](float value) {
      ASSERT_EQ(nearest_code(codes.tree, value), quant::dynamic_code(value, map.data())) << value;
    });
    EXPECT_EQ(nearest_code(codes.tree, std::numeric_limits<float>::quiet_NaN()), 0);
    EXPECT_EQ(nearest_code(codes.tree, std::numeric_limits<float>::infinity()), 255);
  }
}

TEST(NearestCode, FindsEachCodesOwnValue) {
  for (int code = 0; code < 256; ++code) {
    EXPECT_EQ(nearest_code(moment_tables().m.tree, moment_tables().m.map[code]), code);
    EXPECT_EQ(nearest_code(moment_tables().v.tree, moment_tables().v.map[code]), code);
  }
}

TEST(EncodeM, NeverChangesTheSign) {
  const MomentCodes& codes = moment_tables().m;
  each_critical_value(quant::kDynamicMapSigned, [&](float value) {
    const uint8_t code = encode_m(codes.tree, value, 1.0f);
    if (value != 0.0f) {
      ASSERT_GE(codes.map[code] * value, 0.0f) << value;
      ASSERT_EQ(std::signbit(codes.map[code]), std::signbit(value)) << value;
    }
  });
  EXPECT_EQ(encode_m(codes.tree, 1e-9f, 1.0f), kSignedZeroCode);       // a small positive value becomes zero
  EXPECT_EQ(encode_m(codes.tree, -1e-9f, 1.0f), kSignedZeroCode - 1);  // a small negative one does not
}

TEST(EncodeM, InABlockOfZerosTheCodeDecodesToZero) {
  EXPECT_EQ(moment_tables().m.map[encode_m(moment_tables().m.tree, 0.0f, 0.0f)] * 0.0f, 0.0f);
  EXPECT_EQ(encode_m(moment_tables().m.tree, 0.0f, 0.0f), 255);  // as bitsandbytes' kernel
  EXPECT_EQ(encode_v(moment_tables().v.tree, 0.0f, 0.0f), 0);
}

TEST(MagnitudeBits, OrderAsMagnitudesDo) {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const float ascending[] = {0.0f, 1e-45f, -1e-38f, 1.0f, -1.5f, 3e38f, -infinity, nan};
  for (size_t i = 1; i < std::size(ascending); ++i) EXPECT_LT(magnitude_bits(ascending[i - 1]), magnitude_bits(ascending[i]));
  EXPECT_EQ(float_of_bits(magnitude_bits(-1.5f)), 1.5f);
  EXPECT_EQ(magnitude_bits(-0.0f), 0u);
}

}  // namespace
}  // namespace nibble::optim
