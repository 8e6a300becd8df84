// Units: quant/blockwise quant/codebook. Codes, scales and decoded values, bit for bit as bitsandbytes' CUDA kernels give
// them (goldens: IEEE reading of the kernels, docs/numerics.md).
#include "quant/blockwise.h"

#include <gtest/gtest.h>

#include "quant/blockwise_cpu.h"
#include "quant/codebook.h"
#include "tests/quant/quant_golden.h"

namespace nibble::quant {
namespace {

using Json = nlohmann::json;
using test::golden_cases;
using test::same_bytes;

template <size_t N>
Tensor tensor_of(const std::array<float, N>& values) {
  return at::tensor(std::vector<float>(values.begin(), values.end()));
}

class BlockwiseGolden : public testing::TestWithParam<QuantType> {
 protected:
  std::string type() const { return GetParam() == QuantType::kNf4 ? "nf4" : "fp4"; }
};
INSTANTIATE_TEST_SUITE_P(Types, BlockwiseGolden, testing::Values(QuantType::kNf4, QuantType::kFp4),
                         [](const auto& info) { return info.param == QuantType::kNf4 ? "Nf4" : "Fp4"; });

TEST_P(BlockwiseGolden, EveryCaseIsBitExact) {
  const auto tensors = test::golden_tensors(type() + ".safetensors");
  const Json cases = golden_cases(type() + "_cases.json");
  ASSERT_EQ(cases.size(), 88u);
  for (const Json& c : cases) {
    const std::string name = c.at("name");
    SCOPED_TRACE(name);
    const Tensor input = tensors.at(c.at("input").get<std::string>());
    const Tensor weight = input.dim() == 2 ? input : input.reshape({1, -1});
    const QuantizedWeight q = quantize(weight, {GetParam(), c.at("blocksize").get<int64_t>(), false});
    EXPECT_TRUE(same_bytes(q.codes, tensors.at(name + ".packed")));
    EXPECT_TRUE(same_bytes(q.absmax, tensors.at(name + ".absmax")));
    EXPECT_TRUE(same_bytes(dequantize(q, at::kFloat), tensors.at(name + ".dequant_f32")));
    EXPECT_TRUE(same_bytes(dequantize(q, at::kBFloat16), tensors.at(name + ".dequant_bf16")));
  }
}

TEST_P(BlockwiseGolden, TablesAreTheirs) {
  const auto tensors = test::golden_tensors(type() + ".safetensors");
  const bool nf4 = GetParam() == QuantType::kNf4;
  EXPECT_TRUE(same_bytes(tensor_of(nf4 ? kNf4Codebook : kFp4Codebook), tensors.at("table")));
  EXPECT_TRUE(same_bytes(nf4 ? tensor_of(kNf4Thresholds) : tensor_of(kFp4Thresholds), tensors.at("thresholds")));
}

TEST(DynamicMapGolden, BothMapsAreTheirs) {
  const auto tensors = test::golden_tensors("nf4_dq.safetensors");
  EXPECT_TRUE(same_bytes(tensor_of(kDynamicMapSigned), tensors.at("dynamic_map")));
  EXPECT_TRUE(same_bytes(tensor_of(kDynamicMapUnsigned), tensors.at("dynamic_map_unsigned")));
}

TEST(DoubleQuantGolden, DecodesBitForBitFromTheStoredParts) {
  const auto tensors = test::golden_tensors("nf4_dq.safetensors");
  const Json cases = golden_cases("nf4_dq_cases.json");
  ASSERT_EQ(cases.size(), 9u);
  for (const Json& c : cases) {
    const std::string name = c.at("name");
    SCOPED_TRACE(name);
    const QuantizedWeight q = test::double_quantized(tensors, c);
    EXPECT_NO_THROW(validate(q));
    EXPECT_TRUE(same_bytes(dequantize(q, at::kFloat), tensors.at(name + ".dequant_f32")));
    EXPECT_TRUE(same_bytes(dequantize(q, at::kBFloat16), tensors.at(name + ".dequant_bf16")));
  }
}

TEST(DoubleQuantGolden, ScaleCodesAreTheirsForTheStoredOffset) {
  const auto tensors = test::golden_tensors("nf4_dq.safetensors");
  for (const Json& c : Json(golden_cases("nf4_dq_cases.json"))) {
    const std::string name = c.at("name");
    SCOPED_TRACE(name);
    const Tensor& absmax = tensors.at(name + ".absmax");
    const int64_t blocks = absmax.numel(), nested = (blocks + kNestedBlocksize - 1) / kNestedBlocksize;
    const Tensor codes = at::empty({blocks}, at::kByte), nested_absmax = at::empty({nested}, at::kFloat);
    quantize_scales_cpu(absmax.const_data_ptr<float>(), blocks, tensors.at(name + ".offset").item<float>(), 0, nested,
                        codes.mutable_data_ptr<uint8_t>(), nested_absmax.mutable_data_ptr<float>());
    EXPECT_TRUE(same_bytes(codes, tensors.at(name + ".absmax_codes")));
    EXPECT_TRUE(same_bytes(nested_absmax, tensors.at(name + ".nested_absmax")));
  }
}

TEST(DoubleQuantGolden, OwnOffsetIsTheirMeanInAnotherOrder) {
  const auto tensors = test::golden_tensors("nf4_dq.safetensors");
  for (const Json& c : Json(golden_cases("nf4_dq_cases.json"))) {
    const std::string name = c.at("name");
    SCOPED_TRACE(name);
    const QuantizedWeight q =
        quantize(tensors.at(name + ".input"), {QuantType::kNf4, c.at("blocksize").get<int64_t>(), true});
    EXPECT_TRUE(same_bytes(q.codes, tensors.at(name + ".packed")));
    const float offset = tensors.at(name + ".offset").item<float>();
    EXPECT_NEAR(q.nested_offset, offset, 1e-6 * offset);  // (b): another order of the same fp32 sum; golden/README
    // A code near a decision point may move by one with the offset's last bits.
    const Tensor distance = (q.absmax_codes.to(at::kInt) - tensors.at(name + ".absmax_codes").to(at::kInt)).abs();
    EXPECT_LE(distance.max().item<int>(), 1);
  }
}

}  // namespace
}  // namespace nibble::quant
