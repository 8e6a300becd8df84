// Units: quant/blockwise_cpu, quant/blockwise_avx2_cpu, quant/blockwise_avx512_cpu, quant/blockwise_math. Every instruction
// set that this machine has, against a second, plainer reading of the kernels: one value at a time, by its definition.
#include "quant/blockwise_cpu.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/bf16.h"
#include "core/rng.h"
#include "quant/blockwise_math.h"
#include "quant/blockwise_simd.h"

namespace nibble::quant {
namespace {

std::vector<Isa> machine_isas() {
  std::vector<Isa> isas;
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (isa <= best_isa()) isas.push_back(isa);
  }
  return isas;
}

uint16_t narrow(float x, Element element) {
  if (element == Element::kBf16) return float_to_bf16(x);
  return std::bit_cast<uint16_t>(static_cast<_Float16>(x));  // the compiler's own conversion as the oracle
}

// A weight in memory, and the fp32 values that it stands for.
struct Weight {
  Element element;
  std::vector<uint8_t> bytes;
  std::vector<float> values;

  Weight(const std::vector<float>& x, Element e) : element(e), values(x.size()) {
    const size_t width = e == Element::kF32 ? 4 : 2;
    bytes.resize(x.size() * width);
    for (size_t i = 0; i < x.size(); ++i) {
      if (e == Element::kF32) {
        values[i] = x[i];
        std::memcpy(bytes.data() + 4 * i, &x[i], 4);
      } else {
        const uint16_t bits = narrow(x[i], e);
        values[i] = e == Element::kBf16 ? bf16_to_float(bits) : static_cast<float>(std::bit_cast<_Float16>(bits));
        std::memcpy(bytes.data() + 2 * i, &bits, 2);
      }
    }
  }
};

struct Packed {
  std::vector<uint8_t> codes;
  std::vector<float> absmax;
  bool operator==(const Packed& other) const {
    return codes == other.codes && absmax.size() == other.absmax.size() &&
           std::memcmp(absmax.data(), other.absmax.data(), absmax.size() * 4) == 0;
  }
};

int64_t block_count(int64_t n, int64_t blocksize) { return (n + blocksize - 1) / blocksize; }

Packed quantized(const Weight& w, QuantType type, int64_t blocksize, Isa isa) {
  const auto n = static_cast<int64_t>(w.values.size());
  Packed out{std::vector<uint8_t>((n + 1) / 2, 0xEE), std::vector<float>(block_count(n, blocksize), -7.0f)};
  const QuantizeSpan span{type, w.element, blocksize, n, w.bytes.data(), out.codes.data(), out.absmax.data()};
  EXPECT_EQ(quantize_blocks_cpu(span, 0, block_count(n, blocksize), isa), -1);
  return out;
}

// The definition, code by code.
Packed quantized_by_definition(const Weight& w, QuantType type, int64_t blocksize) {
  const auto n = static_cast<int64_t>(w.values.size());
  Packed out{std::vector<uint8_t>((n + 1) / 2, 0), std::vector<float>(block_count(n, blocksize), 0.0f)};
  for (int64_t i = 0; i < n; ++i) {
    float& absmax = out.absmax[i / blocksize];
    absmax = std::max(absmax, std::fabs(w.values[i]));
  }
  for (int64_t i = 0; i < n + n % 2; ++i) {
    const float scaled = (i < n ? w.values[i] : 0.0f) * (1.0f / out.absmax[std::min(i, n - 1) / blocksize]);
    const int code = type == QuantType::kNf4 ? nf4_code(scaled) : fp4_code(scaled);
    out.codes[i / 2] |= static_cast<uint8_t>(i % 2 == 0 ? code << 4 : code);
  }
  return out;
}

// Normal values of any exponent, decision points with their neighbours, zeros of both signs, denormals, huge values.
std::vector<float> hard_values(int64_t n, uint64_t seed) {
  std::vector<float> x(n);
  const RngKey key{seed, RngPurpose::kTest, 0};
  for (int64_t i = 0; i < n; ++i) {
    const auto r = random_block(key, i);
    const float sign = (r[0] & 1) != 0 ? -1.0f : 1.0f;
    float magnitude = 0.0f;
    switch (i / 64 % 3 == 0 ? 0 : r[0] >> 1 & 7) {
      case 0: case 1: case 2: magnitude = random_uniform(key, 4 * i + 1) * 0.1f; break;
      case 3: magnitude = std::fabs(kNf4Thresholds[r[1] % 15]); break;
      case 4: magnitude = kFp4Thresholds[r[1] % 7]; break;
      case 5: magnitude = std::bit_cast<float>(std::bit_cast<uint32_t>(kFp4Thresholds[r[1] % 7]) + r[2] % 5 - 2); break;
      case 6: magnitude = r[1] % 4 == 0 ? 1.0f : 0.0f; break;
      case 7: magnitude = std::bit_cast<float>(r[1] & 0x007FFFFFu); break;
    }
    x[i] = sign * magnitude;
  }
  for (int64_t i = 2 * 64; i < std::min<int64_t>(n, 3 * 64); ++i) x[i] = i % 2 == 0 ? 0.0f : -0.0f;
  for (int64_t i = 4 * 64; i < std::min<int64_t>(n, 5 * 64); ++i) x[i] *= 1e-38f;
  for (int64_t i = 5 * 64; i < std::min<int64_t>(n, 6 * 64); ++i) x[i] *= 1e30f;
  return x;
}

class BlockwiseIsa : public testing::TestWithParam<QuantType> {};
INSTANTIATE_TEST_SUITE_P(Types, BlockwiseIsa, testing::Values(QuantType::kNf4, QuantType::kFp4),
                         [](const auto& info) { return info.param == QuantType::kNf4 ? "Nf4" : "Fp4"; });

TEST_P(BlockwiseIsa, QuantizesAsTheDefinitionSays) {
  for (int64_t n : {1, 2, 31, 32, 33, 63, 64, 65, 127, 448, 1023, 4096, 4097, 9001}) {
    for (Element element : {Element::kF32, Element::kBf16, Element::kF16}) {
      std::vector<float> x = hard_values(n, 7);
      if (element == Element::kF16) {
        for (float& v : x) v = std::fabs(v) > 1.0f ? std::copysign(60000.0f, v) : v;
      }
      const Weight w(x, element);
      for (int64_t blocksize : {32, 64, 128, 256, 512, 1024, 2048, 4096}) {
        const Packed expected = quantized_by_definition(w, GetParam(), blocksize);
        for (Isa isa : machine_isas()) {
          EXPECT_TRUE(quantized(w, GetParam(), blocksize, isa) == expected)
              << isa_name(isa) << " n=" << n << " blocksize=" << blocksize << " element=" << int(element);
        }
      }
    }
  }
}

// Every bf16 value that there is, beside an absmax of 1, 2^-7 and 0.7.
TEST_P(BlockwiseIsa, QuantizesEveryBf16Value) {
  for (float absmax : {1.0f, 0x1p-7f, 0.69921875f}) {
    std::vector<float> x;
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
      const float value = bf16_to_float(static_cast<uint16_t>(bits));
      if (!(std::fabs(value) <= absmax)) continue;
      if (x.size() % 64 == 0) x.push_back(absmax);
      x.push_back(value);
    }
    const Weight w(x, Element::kBf16);
    const Packed expected = quantized_by_definition(w, GetParam(), 64);
    for (Isa isa : machine_isas()) EXPECT_TRUE(quantized(w, GetParam(), 64, isa) == expected) << isa_name(isa);
  }
}

TEST_P(BlockwiseIsa, DecodesAnyRangeAsTheDefinitionSays) {
  const std::array<float, 16>& book = GetParam() == QuantType::kNf4 ? kNf4Codebook : kFp4Codebook;
  for (int64_t blocksize : {32, 64, 4096}) {
    const int64_t n = 2 * 4096 + 77, blocks = block_count(n, blocksize);
    std::vector<uint8_t> codes((n + 1) / 2);
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(random_u32({1, RngPurpose::kTest, 1}, i));
    std::vector<float> absmax(blocks);
    for (int64_t b = 0; b < blocks; ++b) absmax[b] = std::ldexp(random_uniform({2, RngPurpose::kTest, 1}, b), static_cast<int>(b % 254) - 126);
    absmax[0] = std::numeric_limits<float>::max();
    std::vector<float> expected(n);
    for (int64_t i = 0; i < n; ++i) {
      expected[i] = book[i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15] * absmax[i / blocksize];
    }
    DequantizeSpan span;
    span.type = GetParam();
    span.blocksize = blocksize;
    span.numel = n;
    span.codes = codes.data();
    span.absmax = absmax.data();
    const std::vector<std::pair<int64_t, int64_t>> ranges = {{0, n}, {0, 0}, {1, 2}, {1, n}, {3, 99}, {63, 65}, {64, 128},
                                                             {100, 4200}, {4095, 4097}, {n - 1, n}, {n - 78, n}};
    for (auto [begin, end] : ranges) {
      for (Isa isa : machine_isas()) {
        // One value more, to see that nothing is written past the end.
        std::vector<float> got32(end - begin + 1, 123.0f);
        std::vector<uint16_t> got16(end - begin + 1, 0x1234);
        dequantize_cpu(span, begin, end, got32.data(), isa);
        dequantize_cpu(span, begin, end, got16.data(), isa);
        EXPECT_EQ(got32.back(), 123.0f);
        EXPECT_EQ(got16.back(), 0x1234);
        int64_t wrong = 0;
        for (int64_t i = begin; i < end; ++i) {
          wrong += std::bit_cast<uint32_t>(got32[i - begin]) != std::bit_cast<uint32_t>(expected[i]);
          wrong += got16[i - begin] != float_to_bf16(expected[i]);
        }
        EXPECT_EQ(wrong, 0) << isa_name(isa) << " " << begin << ".." << end << " blocksize=" << blocksize;
      }
    }
  }
}

TEST(BlockwiseCpu, FindsTheFirstBlockThatIsNotFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity}) {
    for (Element element : {Element::kF32, Element::kBf16, Element::kF16}) {
      for (int64_t at : {0, 31, 64, 200, 319, 320, 329}) {
        std::vector<float> x(330, 0.5f);
        x[at] = bad;
        x[329] = bad;
        const Weight w(x, element);
        std::vector<uint8_t> codes(165);
        std::vector<float> absmax(6);
        const QuantizeSpan span{QuantType::kNf4, element, 64, 330, w.bytes.data(), codes.data(), absmax.data()};
        for (Isa isa : machine_isas()) {
          const int64_t block = quantize_blocks_cpu(span, 0, 6, isa);
          EXPECT_EQ(block, at / 64);
          EXPECT_EQ(find_not_finite_cpu(span, block), at);
        }
      }
    }
  }
}

// The order of the sum is part of the format of a kernel's result: neighbours first, then neighbours of those.
TEST(MeanScale, IsATreeOverNeighboursInFp64) {
  for (int64_t n : {1, 2, 3, 63, 64, 65, 255, 256, 1000, 4097}) {
    std::vector<float> scales(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) scales[i] = std::ldexp(1.0f + static_cast<float>(i % 97) / 97.0f, static_cast<int>(i % 50) - 25);
    std::vector<double> level(scales.begin(), scales.end());
    while (level.size() > 1) {
      if (level.size() % 2 == 1) level.push_back(0.0);
      for (size_t i = 0; i < level.size() / 2; ++i) level[i] = level[2 * i] + level[2 * i + 1];
      level.resize(level.size() / 2);
    }
    EXPECT_EQ(mean_scale_cpu(scales.data(), n), static_cast<float>(level[0] / static_cast<double>(n))) << n;
  }
}

TEST(BlockwiseMath, HalfToFloatIsExactForAllBits) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float expected = static_cast<float>(std::bit_cast<_Float16>(static_cast<uint16_t>(bits)));
    const float got = half_to_float(static_cast<uint16_t>(bits));
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(got)) << bits;
    } else {
      EXPECT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(expected)) << bits;
    }
  }
}

TEST(BlockwiseMath, MidpointsTakeTheLowerCodeAndNaNCodeZero) {
  for (int k = 0; k < 15; ++k) {
    EXPECT_EQ(nf4_code(kNf4Thresholds[k]), k);
    EXPECT_EQ(nf4_code(std::nextafter(kNf4Thresholds[k], 2.0f)), k + 1);
  }
  for (int k = 0; k < 7; ++k) {
    EXPECT_EQ(fp4_code(kFp4Thresholds[k]), kFp4CodeBySize[k]);
    EXPECT_EQ(fp4_code(-kFp4Thresholds[k]), 8 + kFp4CodeBySize[k]);
    EXPECT_EQ(fp4_code(std::nextafter(kFp4Thresholds[k], 2.0f)), kFp4CodeBySize[k + 1]);
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(nf4_code(nan), 0);
  EXPECT_EQ(fp4_code(nan), 0);
  EXPECT_EQ(fp4_code(-0.0f), 0);
  EXPECT_EQ(fp4_code(-1e-6f), 8);
  EXPECT_EQ(dynamic_code(nan, kDynamicMapSigned.data()), 0);
}

// The branch-free search against the kernel's own, at every decision point and its neighbours, and between them.
TEST(BlockwiseMath, DynamicCodesByTreeAndByCellAreTheKernelsSearch) {
  const auto expect_same = [](float x) {
    EXPECT_EQ(dynamic_code_by_tree(x), dynamic_code(x, kDynamicMapSigned.data())) << x;
    EXPECT_EQ(dynamic_code_by_cell(x), dynamic_code(x, kDynamicMapSigned.data())) << x;
  };
  for (int k = 0; k < 256; ++k) {
    const float next = kDynamicMapSigned[std::min(k + 1, 255)];
    for (float x : {kDynamicMapSigned[k], (kDynamicMapSigned[k] + next) * 0.5f}) {
      float below = x, above = x;
      for (int step = 0; step < 4; ++step) {
        expect_same(below);
        expect_same(above);
        below = std::nextafter(below, -2.0f);
        above = std::nextafter(above, 2.0f);
      }
    }
  }
  for (int64_t i = 0; i < 200000; ++i) expect_same(2.0f * random_uniform({3, RngPurpose::kTest, 0}, i) - 1.0f);
  for (float x : {0.0f, -0.0f, 1.5f, -1.5f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    expect_same(x);
  }
  // The edges of all cells, denormals and what is not finite among them.
  for (uint32_t key = 0; key < kFloatCells; ++key) {
    for (const uint32_t inside : {0u, 1u, (1u << kFloatCellShift) - 1u}) expect_same(std::bit_cast<float>(key << kFloatCellShift | inside));
  }
}

// Where the look-up of a code changes its cell, and the values next to it.
TEST(BlockwiseMath, Nf4CodesAreRightAtTheEdgesOfCells) {
  std::vector<float> x;
  const auto add = [&](float value) {
    if (x.size() % 64 == 0) x.push_back(1.0f);
    x.push_back(value);
  };
  for (int edge = 0; edge <= kNf4Cells; ++edge) {
    float below = std::clamp(static_cast<float>(edge) / kNf4CellScale - 1.0f, -1.0f, 1.0f), above = below;
    for (int step = 0; step < 40; ++step) {
      add(below);
      add(above);
      below = std::max(-1.0f, std::nextafter(below, -2.0f));
      above = std::min(1.0f, std::nextafter(above, 2.0f));
    }
  }
  const Weight w(x, Element::kF32);
  const Packed expected = quantized_by_definition(w, QuantType::kNf4, 64);
  for (Isa isa : machine_isas()) EXPECT_TRUE(quantized(w, QuantType::kNf4, 64, isa) == expected) << isa_name(isa);
}

}  // namespace
}  // namespace nibble::quant
