// Units: nn/cross_entropy_cuda. The kernel of the softmax cross entropy against the CPU's loop.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "nn/cross_entropy.h"
#include "tests/nn/device_tensor.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

constexpr double kU = 0x1p-24;

struct Result {
  Tensor nll, logits;
};

Tensor targets_tensor(const std::vector<int32_t>& targets) { return at::tensor(targets, at::kInt); }

Result run_on_device(const Tensor& logits, const std::vector<int32_t>& targets, bool gradient) {
  const test::DeviceTensor d_logits(logits), d_targets(targets_tensor(targets));
  const test::DeviceTensor nll(at::zeros({logits.size(0)}, at::kDouble));
  const CrossEntropyLaunch launch{d_logits.data(), d_targets.as<int32_t>(), nll.as<double>(), logits.size(0),
                                  logits.size(1), gradient, logits.scalar_type() == at::kBFloat16};
  test::nn_kernels().cross_entropy(launch, nullptr);
  return {nll.read(), d_logits.read()};
}

Result run_on_cpu(const Tensor& logits, const std::vector<int32_t>& targets) {
  const Tensor copy = test::clone_storage(logits), nll = at::zeros({logits.size(0)}, at::kDouble);
  cross_entropy_backward_in_place(copy, targets, {nll.mutable_data_ptr<double>(), static_cast<size_t>(logits.size(0))});
  return {nll, copy};
}

std::vector<int32_t> some_targets(int64_t rows, int64_t vocab) {
  std::vector<int32_t> targets;
  for (int64_t r = 0; r < rows; ++r) targets.push_back(static_cast<int32_t>((r * 7919 + vocab - 1) % vocab));
  return targets;
}

// The kernel's bound for the sum of exponentials and the CPU's (64 terms a lane, then fp64).
double sum_error(int64_t vocab) { return kU * (4.0 * static_cast<double>(vocab) / 4096 + 8.0 + 64.0 + 3.0); }

void expect_close(const Result& got, const Result& expected, int64_t vocab) {
  const double error = sum_error(vocab);
  EXPECT_LE((got.nll - expected.nll).abs().max().item<double>(), error);  // d log(sum) = d sum / sum
  const Tensor p = expected.logits.to(at::kDouble), difference = (got.logits.to(at::kDouble) - p).abs();
  // Where p - 1 is stored the error is that of p, at most 1.
  const Tensor bound = (p.abs() + p.lt(0).to(at::kDouble)) * (error + 2 * kU);
  if (expected.logits.scalar_type() == at::kFloat) {
    EXPECT_TRUE(difference.le(bound).all().item<bool>());
  } else {
    EXPECT_LE(difference.ne(0).sum().item<int64_t>(), 1 + p.numel() / 1000);
    EXPECT_TRUE(difference.le(bound + 0x1p-7 * p.abs()).all().item<bool>());
  }
}

class CrossEntropyCuda : public test::DeviceTest, public testing::WithParamInterface<int64_t> {};
// Vocabularies whose rows begin anywhere, down to one token, and the largest in use.
INSTANTIATE_TEST_SUITE_P(Vocabularies, CrossEntropyCuda, testing::Values(1, 3, 8, 13, 1000, 4096, 4099, 32001, 128256, 262144));

TEST_P(CrossEntropyCuda, EqualsTheCpu) {
  const int64_t vocab = GetParam(), rows = vocab > 10000 ? 2 : 9;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const int64_t offset : {0, 1}) {
      const Tensor storage = test::random_tensor({rows * vocab + offset}, 5, 4.0).to(dtype);
      const Tensor logits = storage.narrow(0, offset, rows * vocab).view({rows, vocab});
      const std::vector<int32_t> targets = some_targets(rows, vocab);
      const Result got = run_on_device(logits, targets, true), expected = run_on_cpu(logits, targets);
      expect_close(got, expected, vocab);
      const Tensor outside = got.logits;
      outside.copy_(logits);
      EXPECT_TRUE(test::same_storage(outside, logits)) << "written outside the rows";
      const Result forward = run_on_device(logits, targets, false);
      EXPECT_TRUE(test::same_storage(forward.logits, logits));
      EXPECT_TRUE(at::equal(forward.nll, got.nll));
    }
  }
}

class CrossEntropyCudaValues : public test::DeviceTest {};

TEST_F(CrossEntropyCudaValues, LogitsInRisingOrderStayWithinTheBound) {
  const Tensor logits = (at::arange(0, 65536, at::kFloat) / 65536 * 80 - 40).view({1, 65536});
  expect_close(run_on_device(logits, {65535}, true), run_on_cpu(logits, {65535}), 65536);
}

TEST_F(CrossEntropyCudaValues, SurvivesExtremesAsTheCpuDoes) {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  Tensor logits = test::random_tensor({6, 5000}, 6);
  logits[0].fill_(-3e38);
  logits[0][77] = 3e38;
  logits[1].fill_(-infinity);
  logits[1][4999] = 1.0;
  logits[2][100] = nan;
  logits[3].fill_(-infinity);
  logits[4][0] = infinity;
  logits[5].narrow(0, 0, 4096).fill_(-infinity);
  const std::vector<int32_t> targets{77, 4999, 3, 1, 1, 4500};
  const Result got = run_on_device(logits, targets, true), expected = run_on_cpu(logits, targets);
  EXPECT_EQ(got.nll[0].item<double>(), 0.0);
  EXPECT_EQ(got.nll[1].item<double>(), 0.0);
  EXPECT_TRUE(at::equal(at::isnan(got.nll).to(at::kInt), at::tensor({0, 0, 1, 1, 1, 0}, at::kInt)));
  EXPECT_TRUE(at::equal(at::isnan(got.nll), at::isnan(expected.nll)));
  EXPECT_TRUE(at::equal(at::isnan(got.logits), at::isnan(expected.logits)));
  for (const int64_t row : {0, 1, 5}) expect_close({got.nll[row], got.logits[row]}, {expected.nll[row], expected.logits[row]}, 5000);
}

TEST_F(CrossEntropyCudaValues, TheSumOfLossesIsAddedUpOnTheDevice) {
  for (const int64_t count : {0, 1, 255, 256, 257, 5000}) {
    const Tensor values = test::random_tensor({count + 1}, 7).to(at::kDouble);  // one that must not be read
    const test::DeviceTensor nll(values), sum(at::full({1}, 1000.0, at::kDouble));
    const double expected = values.narrow(0, 0, count).sum().item<double>();
    const double bound = 0x1p-53 * static_cast<double>(count + 4) * (1000.0 + values.abs().sum().item<double>());
    test::nn_kernels().nll_sum({nll.as<double>(), count, sum.as<double>(), true}, nullptr);
    EXPECT_NEAR(sum.read().item<double>(), 1000.0 + expected, bound);
    test::nn_kernels().nll_sum({nll.as<double>(), count, sum.as<double>(), false}, nullptr);
    EXPECT_NEAR(sum.read().item<double>(), expected, bound);
  }
}

TEST_F(CrossEntropyCudaValues, RefusesWhatItCannotLaunch) {
  CrossEntropyLaunch launch;
  EXPECT_NO_THROW(test::nn_kernels().cross_entropy(launch, nullptr));  // no rows
  launch.rows = 1;
  EXPECT_THROW(test::nn_kernels().cross_entropy(launch, nullptr), std::invalid_argument);
  EXPECT_THROW(test::nn_kernels().nll_sum({}, nullptr), std::invalid_argument);
}

}  // namespace
}  // namespace nibble::nn
