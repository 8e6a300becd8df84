// Units: nn/dropout_cuda, nn/dropout_launch. The dropout kernel against nn::dropout, bit for bit.
#include <gtest/gtest.h>

#include "nn/dropout.h"
#include "nn/dropout_math.h"
#include "tests/emulator/device_tensor.h"
#include "tests/nn/device_tensor.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

DropoutLaunch launch_of(const test::DeviceTensor& x, const test::DeviceTensor& y, const Tensor& like, float p) {
  DropoutLaunch launch;
  launch.x = x.data();
  launch.y = y.data();
  launch.numel = like.numel();
  launch.p = p;
  launch.key = dropout_key(11, (uint64_t{1} << 40) + 5, 77);  // both words of the step matter
  launch.is_bf16 = like.scalar_type() == at::kBFloat16;
  return launch;
}

class DropoutCuda : public test::DeviceTest {};

TEST_F(DropoutCuda, EqualsTheCpuForEveryLengthAndShare) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const int64_t numel : {1, 3, 7, 8, 9, 2047, 2048, 2049, 6001}) {
      for (const float p : {0.0f, 0.05f, 0.5f, 0.999f}) {
        const Tensor x = test::random_tensor({numel}, 1).to(dtype), expected = at::empty_like(x);
        const test::DeviceTensor d_x(x), y(x);
        const DropoutLaunch launch = launch_of(d_x, y, x, p);
        test::nn_kernels().dropout(launch, nullptr);
        dropout(x, expected, p, launch.key);
        EXPECT_TRUE(test::same_storage(y.read(), expected)) << numel << " elements, p = " << p;
      }
    }
  }
}

TEST_F(DropoutCuda, InPlaceAndUnalignedRowsEqualTheCpu) {
  const Tensor x = test::random_tensor({1001}, 2).to(at::kBFloat16).narrow(0, 1, 999), expected = test::clone_storage(x);
  const test::DeviceTensor d_x(x);
  const DropoutLaunch launch = launch_of(d_x, d_x, x, 0.3f);
  test::nn_kernels().dropout(launch, nullptr);
  dropout(expected, expected, 0.3f, launch.key);
  EXPECT_TRUE(test::same_storage(d_x.read(), expected));
}

TEST_F(DropoutCuda, AccumulatesAsDropoutThenAdd) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor x = test::random_tensor({2500}, 3).to(dtype), y = test::random_tensor({2500}, 4).to(dtype), dropped = at::empty_like(x);
    const test::DeviceTensor d_x(x), d_y(y);
    DropoutLaunch launch = launch_of(d_x, d_y, x, 0.25f);
    launch.accumulate = true;
    test::nn_kernels().dropout(launch, nullptr);
    dropout(x, dropped, 0.25f, launch.key);
    EXPECT_TRUE(at::equal(d_y.read(), y + dropped));
    EXPECT_TRUE(at::equal(d_x.read(), x));
  }
}

TEST_F(DropoutCuda, AddsOfTensorsAreTheCpus) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor x = test::random_tensor({5, 77}, 1).to(dtype), y = test::random_tensor({5, 77}, 2).to(dtype);
    const Tensor there = test::to_device(y), expected = y.clone();
    const RngKey key = dropout_key(1, 2, 3);
    add_dropout(test::to_device(x), there, 0.3f, key, {test::emulated_module(), nullptr});
    add_dropout(x.clone(), expected, 0.3f, key);
    EXPECT_TRUE(at::equal(there, expected));
  }
}

// As a recorded launch does, whose arguments stay as they were.
TEST_F(DropoutCuda, DrawsTheMaskOfTheStepThatIsInDeviceMemoryWhenItRuns) {
  const gpu::Queue queue{test::emulated_module(), nullptr};
  const Tensor x = test::random_tensor({3000}, 5), there = test::to_device(x), steps = test::device_empty({1}, at::kLong);
  const RngKey key = dropout_key(11, /*micro_step=*/3, 77);
  std::vector<Tensor> masked;
  for (const int64_t step : {int64_t{0}, int64_t{1}, (int64_t{1} << 33) + 5}) {
    steps.fill_(step);
    const Tensor dropped = test::device_empty({3000}, at::kFloat), sum = test::to_device(x), expected = at::empty_like(x);
    dropout(there, dropped, 0.3f, key, queue, reinterpret_cast<const uint64_t*>(steps.const_data_ptr()));
    add_dropout(there, sum, 0.3f, key, queue, reinterpret_cast<const uint64_t*>(steps.const_data_ptr()));
    dropout(x, expected, 0.3f, dropout_key(11, 3 + static_cast<uint64_t>(step), 77));
    EXPECT_TRUE(at::equal(dropped, expected)) << "step " << step;
    EXPECT_TRUE(at::equal(sum, x + expected));
    for (const Tensor& other : masked) EXPECT_FALSE(at::equal(dropped, other)) << "another step, another mask";
    masked.push_back(dropped.clone());
  }
}

TEST_F(DropoutCuda, FiveBillionElementsFit) {
  const gpu::LaunchShape shape = gpu::launch_shape(5'000'000'000, kDropoutTile, kDropoutThreads);
  EXPECT_GE(gpu::tile_begin(shape.blocks - 1, kDropoutTile) + kDropoutTile, 5'000'000'000);
}

TEST_F(DropoutCuda, RefusesWhatItCannotLaunch) {
  DropoutLaunch launch;
  EXPECT_NO_THROW(test::nn_kernels().dropout(launch, nullptr));  // no elements
  launch.numel = 1;
  EXPECT_THROW(test::nn_kernels().dropout(launch, nullptr), std::invalid_argument);
  const Tensor x = at::ones({8});
  const test::DeviceTensor d_x(x);
  EXPECT_THROW(test::nn_kernels().dropout(launch_of(d_x, d_x, x, 1.0f), nullptr), std::invalid_argument);
}

TEST(DropoutMath, TheThresholdIsTheShareOfAllNumbers) {
  EXPECT_EQ(dropout_threshold(0.0f), 0u);
  EXPECT_EQ(dropout_threshold(0.5f), 0x80000000u);
  EXPECT_EQ(dropout_threshold(1.0f), 0xFFFFFFFFu);
  EXPECT_EQ(dropout_value(3.0f, 4, 5, 2.0f), 0.0f);
  EXPECT_EQ(dropout_value(3.0f, 5, 5, 2.0f), 6.0f);
}

}  // namespace
}  // namespace nibble::nn
