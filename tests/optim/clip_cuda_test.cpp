// Units: optim/clip_cuda, optim/clip_cpu, optim/step_math. The norm's kernels against the CPU's loops, bit for bit.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/rng.h"
#include "optim/clip_cpu.h"
#include "optim/cuda_table.h"
#include "tests/emulator/emulator.h"

namespace nibble::optim {
namespace {

std::vector<float> random_values(int64_t n, uint64_t number) {
  std::vector<float> values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i) values[i] = random_uniform({6, RngPurpose::kTest, number}, i) - 0.5f;
  return values;
}

const CudaTable& lines() { return *nibble::test::emulated_module()->optim; }

TEST(GradientNormCuda, SumsEachChunkAsTheCpuDoes) {
  emulator::reset();
  std::vector<std::vector<float>> gradients;
  std::vector<UpdateSegment> segments;
  std::vector<UpdateChunk> chunks;
  for (const int64_t n : {1, 31, 255, 256, 257, 4095, 4096, 4097, 10'000}) {
    gradients.push_back(random_values(n, static_cast<uint64_t>(n)));
    UpdateSegment segment;
    segment.n = n;
    for (int64_t begin = 0; begin < n; begin += kChunkElements) chunks.push_back({begin, static_cast<int64_t>(segments.size())});
    segments.push_back(segment);
  }
  for (size_t i = 0; i < segments.size(); ++i) segments[i].gradient = gradients[i].data();
  std::vector<double> sums(chunks.size(), -1.0);
  const emulator::Watch watch(sums.data(), static_cast<int64_t>(sums.size() * sizeof(double)));
  const emulator::CheckedLaunches checked;
  lines().gradient_norm({segments.data(), chunks.data(), static_cast<int64_t>(chunks.size()), sums.data()}, nullptr);
  for (size_t c = 0; c < chunks.size(); ++c) {
    const UpdateSegment& segment = segments[static_cast<size_t>(chunks[c].segment)];
    EXPECT_EQ(sums[c], chunk_square_sum_cpu(segment.gradient + chunks[c].begin, chunk_count(segment, chunks[c]))) << c;
  }
}

TEST(BeginStepCuda, AddsAnyNumberOfChunksAsTheCpuDoes) {
  for (const int64_t count : {0, 1, 2, 255, 256, 257, 1000, 5000}) {
    std::vector<double> sums;
    for (int64_t i = 0; i < count; ++i) sums.push_back(std::abs(random_values(1, static_cast<uint64_t>(i))[0]) * 1e3);
    StepNumbers numbers;
    numbers.scalars.decay = 0.75f;
    numbers.tokens = 17;
    numbers.max_grad_norm = 0.5;
    numbers.step = 3;
    StepState expected, actual;
    begin_step(numbers, total_square_sum_cpu(sums.data(), count), expected);
    lines().begin_step({sums.data(), count, numbers, &actual}, nullptr);
    EXPECT_EQ(actual.grad_norm, expected.grad_norm) << count;
    EXPECT_EQ(actual.scalars.grad_scale, expected.scalars.grad_scale) << count;
    EXPECT_EQ(actual.scalars.decay, 0.75f);
    EXPECT_EQ(actual.refused_step, 0);
  }
}

TEST(BeginStepCuda, RemembersTheFirstStepThatIsNotFinite) {
  StepState state;
  const auto begin = [&](int64_t step, double sum) {
    StepNumbers numbers;
    numbers.step = step;
    lines().begin_step({&sum, 1, numbers, &state}, nullptr);
  };
  begin(1, 4.0);
  EXPECT_EQ(state.refused_step, 0);
  begin(2, std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(state.refused_step, 2);
  begin(3, std::numeric_limits<double>::infinity());
  begin(4, 1.0);
  EXPECT_EQ(state.refused_step, 2);
  EXPECT_EQ(state.grad_norm, 1.0);
}

TEST(ClipCuda, RefusesNullPointers) {
  EXPECT_THROW(lines().gradient_norm({}, nullptr), std::invalid_argument);
  EXPECT_THROW(lines().begin_step({}, nullptr), std::invalid_argument);
}

}  // namespace
}  // namespace nibble::optim
