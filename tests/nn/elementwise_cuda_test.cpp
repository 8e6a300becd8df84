// Units: nn/elementwise_cuda, nn/elementwise_launch. Sums and scaling by kernels, against LibTorch on the CPU.
#include "nn/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>

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

TEST_F(ElementwiseCuda, AddsGradientsOfBothFactorsInOneLaunch) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const int64_t first : kLengths) {
      for (const int64_t second : {int64_t{0}, int64_t{1}, int64_t{3000}}) {
        const Tensor da = test::random_tensor({first}, 1), ga = test::random_tensor({first}, 2).to(dtype);
        const Tensor db = test::random_tensor({second + 1}, 3), gb = test::random_tensor({second + 1}, 4).to(dtype);
        const test::DeviceTensor d_da(da), d_ga(ga), d_db(db), d_gb(gb);
        AddScaledLaunch launch;
        launch.parts[0] = {d_da.data(), d_ga.data(), 1.0f, first};
        launch.parts[1] = {d_db.data(), d_gb.data(), 0.3f, second};
        launch.x_is_bf16 = dtype == at::kBFloat16;
        test::nn_kernels().add_scaled(launch, nullptr);
        EXPECT_TRUE(at::equal(d_da.read(), da + ga.to(at::kFloat)));
        const Tensor expected = db.clone();
        expected.narrow(0, 0, second).copy_(fused(db, gb, 0.3f).narrow(0, 0, second));
        EXPECT_TRUE(at::equal(d_db.read(), expected));
      }
    }
  }
}

// LibTorch fuses where it has vectors and rounds twice in what is left over: one rounding more, at most.
TEST_F(ElementwiseCuda, AddScaledEqualsLibTorchsAdd) {
  const Tensor y = test::random_tensor({4096}, 5), x = test::random_tensor({4096}, 6).to(at::kBFloat16);
  const test::DeviceTensor d_y(y), d_x(x);
  AddScaledLaunch launch;
  launch.parts[0] = {d_y.data(), d_x.data(), 0.7f, y.numel()};
  test::nn_kernels().add_scaled(launch, nullptr);
  const Tensor expected = at::add(y, x, 0.7), bound = 0x1p-23 * (y.abs() + x.to(at::kFloat).abs());
  EXPECT_TRUE((d_y.read() - expected).abs().le(bound).all().item<bool>());
}

TEST_F(ElementwiseCuda, AddsResidualsInTheDtype) {
  for (const int64_t n : kLengths) {
    const Tensor y = test::random_tensor({n}, 7).to(at::kBFloat16), x = test::random_tensor({n}, 8).to(at::kBFloat16);
    const test::DeviceTensor d_y(y), d_x(x);
    AddScaledLaunch launch;
    launch.parts[0] = {d_y.data(), d_x.data(), 1.0f, n};
    launch.y_is_bf16 = true;
    test::nn_kernels().add_scaled(launch, nullptr);
    EXPECT_TRUE(at::equal(d_y.read(), y + x));
  }
}

TEST_F(ElementwiseCuda, ScalesInTheDtype) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const int64_t n : kLengths) {
      const Tensor x = test::random_tensor({n + 1}, 9).to(dtype).narrow(0, n % 2, n);  // odd lengths begin unaligned
      const test::DeviceTensor d_x(x);
      test::nn_kernels().scale({d_x.data(), 1.7f, n, dtype == at::kBFloat16}, nullptr);
      EXPECT_TRUE(at::equal(d_x.read(), (x.to(at::kFloat) * 1.7f).to(dtype)));
    }
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

TEST(ElementwiseGeometry, TheSecondPartsBlocksFollowTheFirsts) {
  for (const int64_t first : {int64_t{0}, int64_t{1}, int64_t{2048}, int64_t{2049}, int64_t{5'000'000'000}}) {
    const auto tiles = static_cast<unsigned>(elementwise_tiles(first));
    const gpu::LaunchShape shape = add_scaled_shape(first, 3000);
    EXPECT_EQ(shape.blocks, tiles + 2);
    EXPECT_EQ(part_tile(shape.blocks - 1, tiles).part, 1);
    EXPECT_EQ(part_tile(shape.blocks - 1, tiles).tile, 1u);
    EXPECT_EQ(part_tile(shape.blocks - 2, tiles).tile, 0u);
    if (tiles > 0) {
      EXPECT_EQ(part_tile(tiles - 1, tiles).part, 0);
      EXPECT_GE(gpu::tile_begin(tiles - 1, kElementwiseTile) + kElementwiseTile, first);
    }
  }
}

TEST_F(ElementwiseCuda, RefusesWhatItCannotLaunch) {
  AddScaledLaunch add;
  ScaleLaunch scale;
  EXPECT_NO_THROW(test::nn_kernels().add_scaled(add, nullptr));  // no elements
  EXPECT_NO_THROW(test::nn_kernels().scale(scale, nullptr));
  add.parts[1].numel = scale.numel = 1;
  EXPECT_THROW(test::nn_kernels().add_scaled(add, nullptr), std::invalid_argument);
  EXPECT_THROW(test::nn_kernels().scale(scale, nullptr), std::invalid_argument);
  const test::DeviceTensor x(at::ones({8}));
  add.parts[1] = {x.data(), x.data(), 1.0f, 8};
  add.y_is_bf16 = true;
  add.x_is_bf16 = false;
  EXPECT_THROW(test::nn_kernels().add_scaled(add, nullptr), std::invalid_argument);
}

}  // namespace
}  // namespace nibble::nn
