// Units: quant/blockwise, quant/layout. Threads, panels, sizes, and what is refused.
#include "quant/blockwise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>

#include "core/error.h"

namespace nibble::quant {
namespace {

std::string refusal(const std::function<void()>& act) {
  try {
    act();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "";
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  if (a.nbytes() != b.nbytes()) return false;
  return a.nbytes() == 0 || std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

TEST(Quantize, DoesNotDependOnTheNumberOfThreads) {
  const Tensor w = at::randn({1031, 777}).to(at::kBFloat16);
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const QuantizedWeight one = quantize(w, {});
  const Tensor decoded = dequantize(one, at::kBFloat16);
  for (int threads : {2, 3, 5}) {
    at::set_num_threads(threads);
    const QuantizedWeight many = quantize(w, {});
    EXPECT_TRUE(same_bytes(one.codes, many.codes));
    EXPECT_TRUE(same_bytes(one.absmax_codes, many.absmax_codes));
    EXPECT_TRUE(same_bytes(one.nested_absmax, many.nested_absmax));
    EXPECT_EQ(one.nested_offset, many.nested_offset);
    EXPECT_TRUE(same_bytes(decoded, dequantize(many, at::kBFloat16)));
  }
  at::set_num_threads(before);
}

TEST(Quantize, NamesTheFirstValueThatIsNotFinite) {
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    for (at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      Tensor w = at::zeros({3000, 101});
      w[17][33] = bad;
      w[2999][100] = bad;
      EXPECT_THAT(refusal([&] { quantize(w.to(dtype), {}); }), testing::HasSubstr("weight[17, 33] (flat index 1750) is"));
    }
  }
}

TEST(Quantize, RefusesOtherBlockSizesNamingTheRange) {
  for (int64_t blocksize : {0, 1, 16, 48, 96, 8192, -64}) {
    try {
      quantize(at::zeros({4, 64}), {QuantType::kNf4, blocksize, true});
      ADD_FAILURE() << blocksize << " was accepted";
    } catch (const ConfigError& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr("32..4096"));
    }
  }
}

TEST(Quantize, RefusesShapesAndDtypesThatAreNoWeight) {
  EXPECT_THAT(refusal([] { quantize(at::zeros({64}), {}); }), testing::HasSubstr("shape [64]"));
  EXPECT_THAT(refusal([] { quantize(at::zeros({0, 64}), {}); }), testing::HasSubstr("not empty"));
  EXPECT_THAT(refusal([] { quantize(Tensor(), {}); }), testing::HasSubstr("undefined"));
  EXPECT_THAT(refusal([] { quantize(at::zeros({4, 64}, at::kDouble), {}); }), testing::HasSubstr("Double"));
  EXPECT_THAT(refusal([] { quantize(at::zeros({64, 4}).t(), {}); }), testing::HasSubstr("not contiguous"));
}

TEST(DequantizeRows, AnyPanelIsThatPartOfTheWhole) {
  for (bool double_quant : {false, true}) {
    for (int64_t in : {1, 7, 50, 64, 96, 129}) {
      const QuantizedWeight q = quantize(at::randn({41, in}), {QuantType::kNf4, 64, double_quant});
      for (at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        const Tensor whole = dequantize(q, dtype);
        for (auto [begin, end] : std::vector<std::pair<int64_t, int64_t>>{{0, 41}, {0, 1}, {3, 3}, {1, 2}, {5, 40}, {40, 41}}) {
          const Tensor panel = at::full({end - begin, in}, 9.0, dtype);
          dequantize_rows_into(q, begin, end, panel);
          EXPECT_TRUE(same_bytes(panel, whole.narrow(0, begin, end - begin).contiguous())) << in << " " << begin;
        }
      }
    }
  }
}

TEST(DequantizeRows, RefusesRowsAndOutputsThatDoNotFit) {
  const QuantizedWeight q = quantize(at::randn({8, 64}), {});
  EXPECT_THAT(refusal([&] { dequantize_rows_into(q, 4, 9, at::empty({5, 64})); }), testing::HasSubstr("rows 4..9"));
  EXPECT_THAT(refusal([&] { dequantize_rows_into(q, -1, 2, at::empty({3, 64})); }), testing::HasSubstr("rows -1..2"));
  EXPECT_THAT(refusal([&] { dequantize_rows_into(q, 5, 4, at::empty({1, 64})); }), testing::HasSubstr("rows 5..4"));
  EXPECT_THAT(refusal([&] { dequantize_into(q, at::empty({64, 8})); }), testing::HasSubstr("expected [8, 64]"));
  EXPECT_THAT(refusal([&] { dequantize_into(q, at::empty({64, 8}).t()); }), testing::HasSubstr("not contiguous"));
  EXPECT_THAT(refusal([&] { dequantize_into(q, at::empty({8, 64}, at::kHalf)); }), testing::HasSubstr("Half"));
}

// One damage to a good weight, and the word that its refusal must have.
struct Damage {
  const char* word;
  std::function<void(QuantizedWeight&)> make;
};

TEST(Validate, NamesTheDamagedPart) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<Damage> damages = {
      {"codes has", [](QuantizedWeight& q) { q.codes = q.codes.narrow(0, 0, q.codes.numel() - 1).clone(); }},
      {"codes has dtype", [](QuantizedWeight& q) { q.codes = q.codes.to(at::kChar); }},
      {"absmax codes is missing", [](QuantizedWeight& q) { q.absmax_codes = Tensor(); }},
      {"absmax codes has", [](QuantizedWeight& q) { q.absmax_codes = at::zeros({3}, at::kByte); }},
      {"nested absmax has", [](QuantizedWeight& q) { q.nested_absmax = at::ones({2}); }},
      {"nested absmax[0]", [](QuantizedWeight& q) { q.nested_absmax = at::full({1}, kInfinity); }},
      {"nested absmax[0]", [](QuantizedWeight& q) { q.nested_absmax = at::full({1}, std::nanf("")); }},
      {"nested absmax[0]",
       [](QuantizedWeight& q) {  // each finite, their sum not
         q.nested_absmax = at::full({1}, 3e38f);
         q.nested_offset = 3e38f;
       }},
      {"nested offset", [](QuantizedWeight& q) { q.nested_offset = -kInfinity; }},
      {"nested offset", [](QuantizedWeight& q) { q.nested_offset = std::nanf(""); }},
      {"shape", [](QuantizedWeight& q) { q.out = -q.out; }},
      {"shape", [](QuantizedWeight& q) { q.out = int64_t{1} << 40, q.in = int64_t{1} << 40; }},
      {"shape", [](QuantizedWeight& q) { q.in = 0; }},
      {"codes has", [](QuantizedWeight& q) { q.in = int64_t{1} << 50; }},
  };
  const QuantizedWeight good = quantize(at::randn({64, 70}), {});
  EXPECT_NO_THROW(validate(good));
  for (const Damage& damage : damages) {
    QuantizedWeight q = good;
    damage.make(q);
    EXPECT_THAT(refusal([&] { validate(q); }), testing::HasSubstr(damage.word));
  }
  QuantizedWeight plain = quantize(at::randn({8, 64}), {QuantType::kFp4, 64, false});
  EXPECT_NO_THROW(validate(plain));
  plain.absmax[3] = -kInfinity;
  EXPECT_THAT(refusal([&] { validate(plain); }), testing::HasSubstr("absmax[3] = -inf"));
  plain.config.blocksize = 63;
  EXPECT_THROW(validate(plain), ConfigError);
}

// Sizes are checked on every call, before anything is allocated or read by what they say.
TEST(Dequantize, RefusesMissingBytesBeforeAllocating) {
  QuantizedWeight q = quantize(at::randn({64, 64}), {});
  q.out = int64_t{1} << 45;
  EXPECT_THAT(refusal([&] { dequantize(q, at::kFloat); }), testing::HasSubstr("codes has"));
}

TEST(Quantize, ZerosDecodeToZerosWithAndWithoutDoubleQuantization) {
  for (bool double_quant : {false, true}) {
    const QuantizedWeight q = quantize(at::zeros({3, 65}), {QuantType::kNf4, 64, double_quant});
    EXPECT_NO_THROW(validate(q));
    EXPECT_TRUE(at::equal(dequantize(q, at::kFloat), at::zeros({3, 65})));
  }
}

TEST(QuantizedWeight, CostsAsManyBitsAsThePaperSays) {
  const QuantizedWeight q = quantize(at::randn({512, 512}), {});
  EXPECT_TRUE(q.defined());
  EXPECT_EQ(q.bytes() * 8.0 / static_cast<double>(q.numel()), 4.0 + 8.0 / 64 + 32.0 / (64 * 256));
  const QuantizedWeight plain = quantize(at::randn({512, 512}), {QuantType::kNf4, 64, false});
  EXPECT_EQ(plain.bytes() * 8.0 / static_cast<double>(plain.numel()), 4.0 + 32.0 / 64);
  EXPECT_FALSE(QuantizedWeight{}.defined());
  EXPECT_EQ(QuantizedWeight{}.bytes(), 0);
}

}  // namespace
}  // namespace nibble::quant
