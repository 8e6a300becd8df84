// Units: nn/elementwise_cuda, nn/elementwise_launch. Sums by kernels, against LibTorch on the CPU.
#include "nn/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>

#include "gpu/launch.h"
#include "tests/emulator/device_tensor.h"
#include "tests/nn/device_tensor.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

constexpr int64_t kLengths[] = {1, 7, 8, 9, 2047, 2048, 2049, 5000};

class ElementwiseCuda : public test::DeviceTest {};

// scale * x + y with one rounding: the product of two floats is exact in double, and so is every sum here that matters.
Tensor fused(const Tensor& y, const Tensor& x, float scale) {
  const Tensor result = y.to(at::kFloat, false, true), wide = x.to(at::kFloat).contiguous();
  float* values = result.mutable_data_ptr<float>();
  for (int64_t i = 0; i < result.numel(); ++i) values[i] = std::fma(scale, wide.const_data_ptr<float>()[i], values[i]);
  return result.to(y.scalar_type());
}

TEST_F(ElementwiseCuda, AddsGradientsInFp32) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const int64_t n : kLengths) {
      for (const float scale : {1.0f, 0.3f}) {
        // Odd lengths begin unaligned, and one element beyond stays as it is.
        const Tensor y = test::random_tensor({n + 2}, 1), x = test::random_tensor({n + 2}, 2).to(dtype);
        const test::DeviceTensor d_y(y.narrow(0, n % 2, n)), d_x(x.narrow(0, n % 2, n));
        test::nn_kernels().add_scaled({d_y.data(), d_x.data(), scale, n, /*y_is_bf16=*/false, dtype == at::kBFloat16}, nullptr);
        const Tensor expected = test::clone_storage(y.narrow(0, n % 2, n));
        expected.copy_(fused(y.narrow(0, n % 2, n), x.narrow(0, n % 2, n), scale));
        EXPECT_TRUE(test::same_storage(d_y.read(), expected)) << n << " elements";
      }
    }
  }
}

// LibTorch fuses where it has vectors and rounds twice in what is left over: one rounding more, at most.
TEST_F(ElementwiseCuda, AddScaledEqualsLibTorchsAdd) {
  const Tensor y = test::random_tensor({4096}, 5), x = test::random_tensor({4096}, 6).to(at::kBFloat16);
  const test::DeviceTensor d_y(y), d_x(x);
  test::nn_kernels().add_scaled({d_y.data(), d_x.data(), 0.7f, y.numel(), /*y_is_bf16=*/false, /*x_is_bf16=*/true}, nullptr);
  const Tensor expected = at::add(y, x, 0.7), bound = 0x1p-23 * (y.abs() + x.to(at::kFloat).abs());
  EXPECT_TRUE((d_y.read() - expected).abs().le(bound).all().item<bool>());
}

TEST_F(ElementwiseCuda, AddsResidualsInTheDtype) {
  for (const int64_t n : kLengths) {
    const Tensor y = test::random_tensor({n}, 7).to(at::kBFloat16), x = test::random_tensor({n}, 8).to(at::kBFloat16);
    const test::DeviceTensor d_y(y), d_x(x);
    test::nn_kernels().add_scaled({d_y.data(), d_x.data(), 1.0f, n, /*y_is_bf16=*/true, /*x_is_bf16=*/true}, nullptr);
    EXPECT_TRUE(at::equal(d_y.read(), y + x));
  }
}

TEST_F(ElementwiseCuda, AddScaledOfTensorsIsFusedThereAndLibTorchsHere) {
  const gpu::Queue queue{test::emulated_module(), nullptr};
  for (const auto& [y_dtype, x_dtype] : {std::pair(at::kFloat, at::kBFloat16), std::pair(at::kFloat, at::kFloat), std::pair(at::kBFloat16, at::kBFloat16)}) {
    const Tensor y = test::random_tensor({8, 304}, 1).to(y_dtype), x = test::random_tensor({8, 304}, 2).to(x_dtype);
    const Tensor there = test::to_device(y), here = y.clone();
    add_scaled(there, test::to_device(x), 0.7f, queue);
    EXPECT_TRUE(at::equal(there, fused(y, x, 0.7f)));
    add_scaled(here, x, 0.7f);
    EXPECT_TRUE(at::equal(here, at::add(y, x, 0.7)));
  }
  EXPECT_THROW(add_scaled(at::zeros({4}, at::kBFloat16), at::zeros({4}), 1.0f, queue), std::logic_error);
  EXPECT_THROW(add_scaled(at::zeros({4}), at::zeros({5}), 1.0f, queue), std::logic_error);
  EXPECT_THROW(add_scaled(at::zeros({4, 4}).t(), at::zeros({4, 4}), 1.0f, queue), std::logic_error);
}

TEST(ElementwiseGeometry, FiveBillionElementsFit) {
  const gpu::LaunchShape shape = gpu::launch_shape(5'000'000'000, kElementwiseTile, kElementwiseThreads);
  EXPECT_GE(gpu::tile_begin(shape.blocks - 1, kElementwiseTile) + kElementwiseTile, 5'000'000'000);
}

TEST_F(ElementwiseCuda, RefusesWhatItCannotLaunch) {
  AddScaledLaunch add;
  EXPECT_NO_THROW(test::nn_kernels().add_scaled(add, nullptr));  // no elements
  add.numel = 1;
  EXPECT_THROW(test::nn_kernels().add_scaled(add, nullptr), std::invalid_argument);
  const test::DeviceTensor x(at::ones({8}));
  EXPECT_THROW(test::nn_kernels().add_scaled({x.data(), x.data(), 1.0f, 8, /*y_is_bf16=*/true, /*x_is_bf16=*/false}, nullptr),
               std::invalid_argument);
}

}  // namespace
}  // namespace nibble::nn
