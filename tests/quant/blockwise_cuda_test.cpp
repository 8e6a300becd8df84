// Units: quant/blockwise_launch, quant/blockwise_cuda, quant/blockwise_encode_cuda, quant/cuda_table, quant/blockwise. The
// kernels, run by the emulator, against the CPU's loops and the goldens: bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>

#include "core/error.h"
#include "quant/blockwise.h"
#include "quant/blockwise_cpu.h"
#include "quant/blockwise_launch.h"
#include "quant/cuda_table.h"
#include "tests/emulator/device_tensor.h"
#include "tests/quant/quant_golden.h"

namespace nibble::quant {
namespace {

using test::same_bytes;
using testing::HasSubstr;

const gpu::Queue& queue() {
  static const gpu::Queue only{test::emulated_module(), nullptr};
  return only;
}

testing::AssertionResult same_parts(const QuantizedWeight& got, const QuantizedWeight& expected) {
  for (auto part : {&QuantizedWeight::codes, &QuantizedWeight::absmax, &QuantizedWeight::absmax_codes, &QuantizedWeight::nested_absmax}) {
    if (auto result = same_bytes(got.*part, expected.*part); !result) return result;
  }
  if (std::memcmp(&got.nested_offset, &expected.nested_offset, sizeof(float)) == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "offset " << got.nested_offset << ", expected " << expected.nested_offset;
}

// The parts of a weight as the kernel writes them into memory whose ends are guarded, in twice-run, checked launches.
QuantizedWeight quantize_guarded(const Tensor& weight, const QuantConfig& config) {
  const Tensor w = test::to_device(weight);
  QuantizedWeight q;
  q.config = config;
  q.out = weight.size(0);
  q.in = weight.size(1);
  q.codes = test::device_empty({(q.numel() + 1) / 2}, at::kByte);
  const Tensor absmax = test::device_empty({q.blocks()}, at::kFloat);
  const Tensor workspace = test::device_empty({quantize_workspace_bytes(q.numel())}, at::kByte);
  QuantizeLaunch launch;
  launch.span.type = config.type;
  launch.span.element = w.scalar_type() == at::kFloat      ? Element::kF32
                        : w.scalar_type() == at::kBFloat16 ? Element::kBf16
                                                           : Element::kF16;
  launch.span.blocksize = config.blocksize;
  launch.span.numel = q.numel();
  launch.span.weight = w.const_data_ptr();
  launch.span.codes = q.codes.mutable_data_ptr<uint8_t>();
  launch.span.absmax = absmax.mutable_data_ptr<float>();
  launch.workspace = workspace.mutable_data_ptr();
  if (config.double_quant) {
    q.absmax_codes = test::device_empty({q.blocks()}, at::kByte);
    q.nested_absmax = test::device_empty({(q.blocks() + kNestedBlocksize - 1) / kNestedBlocksize}, at::kFloat);
    launch.absmax_codes = q.absmax_codes.mutable_data_ptr<uint8_t>();
    launch.nested_absmax = q.nested_absmax.mutable_data_ptr<float>();
  } else {
    q.absmax = absmax;
  }
  const emulator::CheckedLaunches checked;
  queue().module->quant->quantize(launch, nullptr);
  QuantizeReport report{};
  queue().module->runtime->copy(&report, launch.workspace, sizeof report, nullptr);
  q.nested_offset = report.offset;
  EXPECT_EQ(report.not_finite, 0u);
  return q;
}

struct Case {
  QuantType type;
  at::ScalarType dtype;
  bool double_quant;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << (c.type == QuantType::kNf4 ? "nf4 " : "fp4 ") << at::toString(c.dtype) << (c.double_quant ? " nested" : "");
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (QuantType type : {QuantType::kNf4, QuantType::kFp4}) {
    for (at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      for (bool double_quant : {false, true}) cases.push_back({type, dtype, double_quant});
    }
  }
  return cases;
}

class BlockwiseCuda : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Cases, BlockwiseCuda, testing::ValuesIn(all_cases()));

// Every block size; ends in the middle of a byte, of a thread's eight, of a block, of a tile; one tile and several.
TEST_P(BlockwiseCuda, EqualsTheCpuAtEveryBlockSizeAndEnd) {
  const Case c = GetParam();
  at::manual_seed(1);
  for (int64_t blocksize = kSmallestBlocksize; blocksize <= kLargestBlocksize; blocksize *= 2) {
    for (int64_t in : {int64_t{1}, int64_t{7}, int64_t{64}, blocksize + 1, int64_t{4095}, int64_t{4096}, int64_t{8209}}) {
      SCOPED_TRACE(testing::Message() << "blocks of " << blocksize << ", " << in << " elements");
      emulator::reset();
      const Tensor weight = at::randn({1, in}).to(c.dtype);
      const QuantConfig config{c.type, blocksize, c.double_quant};
      const QuantizedWeight expected = quantize(weight, config);
      const QuantizedWeight got = quantize_guarded(weight, config);
      ASSERT_TRUE(same_parts(got, expected));
      for (at::ScalarType out : {at::kFloat, at::kBFloat16}) {
        const Tensor into = test::device_empty({1, in}, out);
        const emulator::CheckedLaunches checked;
        dequantize_into(got, into, queue());
        ASSERT_TRUE(same_bytes(into, dequantize(expected, out)));
      }
    }
  }
}

// Blocks of zeros, of denormals, with huge values, and values at and beside the decision points.
TEST_P(BlockwiseCuda, EqualsTheCpuOnOddValues) {
  emulator::reset();
  const Case c = GetParam();
  at::manual_seed(2);
  Tensor weight = at::randn({40, 512});
  weight.narrow(0, 0, 3).zero_();
  weight.narrow(0, 3, 2).mul_(1e-40);
  weight.narrow(0, 5, 2).mul_(1e4);
  weight.narrow(0, 7, 2).fill_(-0.0f);
  weight.narrow(0, 9, 4).copy_(at::linspace(-1, 1, 4 * 512).reshape({4, 512}));
  weight.narrow(0, 13, 1).fill_(3.0f);
  const Tensor typed = weight.to(c.dtype);
  const QuantConfig config{c.type, 64, c.double_quant};
  EXPECT_TRUE(same_parts(quantize_guarded(typed, config), quantize(typed, config)));
}

// More scales than one block of threads codes, so that work is handed out by tickets to many.
TEST(BlockwiseCudaScales, OfManyTilesAreCodedAlike) {
  emulator::reset();
  at::manual_seed(3);
  const Tensor weight = at::randn({1100, 511}).mul_(at::rand({1100, 1})).to(at::kBFloat16);
  for (int64_t blocksize : {32, 64}) {
    const QuantConfig config{QuantType::kNf4, blocksize, true};
    EXPECT_TRUE(same_parts(quantize_guarded(weight, config), quantize(weight, config)));
  }
}

TEST(BlockwiseCudaGolden, CodesAndScalesAreBitsandbytes) {
  for (const std::string type : {"nf4", "fp4"}) {
    const auto tensors = test::golden_tensors(type + ".safetensors");
    const auto cases = test::golden_cases(type + "_cases.json");
    ASSERT_EQ(cases.size(), 88u);
    for (const auto& c : cases) {
      const std::string name = c.at("name");
      SCOPED_TRACE(name);
      emulator::reset();
      const Tensor input = tensors.at(c.at("input").get<std::string>());
      const Tensor weight = input.dim() == 2 ? input : input.reshape({1, -1});
      const QuantConfig config{type == "nf4" ? QuantType::kNf4 : QuantType::kFp4, c.at("blocksize").get<int64_t>(), false};
      const QuantizedWeight q = quantize_guarded(weight, config);
      EXPECT_TRUE(same_bytes(q.codes, tensors.at(name + ".packed")));
      EXPECT_TRUE(same_bytes(q.absmax, tensors.at(name + ".absmax")));
      EXPECT_TRUE(same_bytes(dequantize(q, at::kFloat, queue()), tensors.at(name + ".dequant_f32")));
      EXPECT_TRUE(same_bytes(dequantize(q, at::kBFloat16, queue()), tensors.at(name + ".dequant_bf16")));
    }
  }
}

TEST(BlockwiseCudaGolden, DoubleQuantizationDecodesFromTheStoredParts) {
  emulator::reset();
  const auto tensors = test::golden_tensors("nf4_dq.safetensors");
  const auto cases = test::golden_cases("nf4_dq_cases.json");
  ASSERT_EQ(cases.size(), 9u);
  for (const auto& c : cases) {
    const std::string name = c.at("name");
    SCOPED_TRACE(name);
    QuantizedWeight q = test::double_quantized(tensors, c);
    for (Tensor* part : {&q.codes, &q.absmax_codes, &q.nested_absmax}) *part = test::to_device(*part);
    EXPECT_TRUE(same_bytes(dequantize(q, at::kFloat, queue()), tensors.at(name + ".dequant_f32")));
    EXPECT_TRUE(same_bytes(dequantize(q, at::kBFloat16, queue()), tensors.at(name + ".dequant_bf16")));
  }
}

TEST(QuantizeOnAQueue, IsOneLaunchAndTheSameWeight) {
  emulator::reset();
  const Tensor weight = at::randn({300, 200}).to(at::kBFloat16);
  const QuantizedWeight q = quantize(weight, {}, queue());
  EXPECT_TRUE(same_parts(q, quantize(weight, {})));
  EXPECT_EQ(emulator::calls("cudaLaunchKernelEx"), 1);
  EXPECT_EQ(emulator::calls("cudaStreamSynchronize"), 1);
  const Tensor decoded = dequantize(q, at::kBFloat16, queue());
  EXPECT_EQ(emulator::calls("cudaLaunchKernelEx"), 2);
  EXPECT_EQ(emulator::calls("cudaStreamSynchronize"), 1) << "decoding waits for nothing";
  EXPECT_TRUE(same_bytes(decoded, dequantize(q, at::kBFloat16)));
}

TEST(QuantizeOnAQueue, NamesTheFirstValueThatIsNotFinite) {
  for (bool double_quant : {false, true}) {
    for (float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      emulator::reset();
      Tensor weight = at::zeros({300, 101});
      weight[17][33] = bad;
      weight[299][100] = bad;
      try {
        quantize(weight, {QuantType::kNf4, 64, double_quant}, queue());
        ADD_FAILURE() << bad << " was accepted";
      } catch (const std::invalid_argument& error) {
        EXPECT_THAT(error.what(), HasSubstr("weight[17, 33] (flat index 1750) is"));
      }
    }
  }
}

TEST(QuantizeOnAQueue, QuotesTheCallThatFails) {
  const Tensor weight = at::randn({4, 64});
  for (const char* function : {"cudaMemsetAsync", "cudaLaunchKernelEx", "cudaMemcpyAsync", "cudaStreamSynchronize"}) {
    emulator::reset();
    emulator::fail_call(function, 1, 700);
    try {
      quantize(weight, {}, queue());
      ADD_FAILURE() << function << " failed unnoticed";
    } catch (const CudaError& error) {
      EXPECT_THAT(error.what(), testing::AllOf(HasSubstr(std::string(function) + "("), HasSubstr("illegal memory access")));
    }
  }
}

TEST(BlockwiseLaunches, RefusePointersAndSizesThatTheKernelsCannotTake) {
  alignas(16) static float memory[64];
  DequantizeLaunch decode;
  decode.span.codes = reinterpret_cast<const uint8_t*>(memory);
  decode.span.absmax = memory;
  decode.span.numel = 32;
  decode.out = memory + 1;  // 4 bytes off
  EXPECT_THROW(queue().module->quant->dequantize(decode, nullptr), std::invalid_argument);
  QuantizeLaunch encode;
  encode.span.weight = memory;
  encode.span.codes = reinterpret_cast<uint8_t*>(memory);
  encode.span.absmax = memory;
  encode.span.numel = 32;
  encode.workspace = memory;
  encode.span.blocksize = 48;
  EXPECT_THROW(queue().module->quant->quantize(encode, nullptr), std::invalid_argument);
  encode.span.blocksize = 64;
  encode.nested_absmax = memory;  // without codes
  EXPECT_THROW(queue().module->quant->quantize(encode, nullptr), std::invalid_argument);
  encode.nested_absmax = nullptr;
  encode.span.numel = kMostQuantized + 1;
  EXPECT_THROW(queue().module->quant->quantize(encode, nullptr), std::invalid_argument);
}

}  // namespace
}  // namespace nibble::quant
