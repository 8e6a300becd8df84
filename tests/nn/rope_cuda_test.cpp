// Units: nn/rope_cuda. The kernel of rotary position embedding against the CPU's loop, bit for bit.
#include <gtest/gtest.h>

#include "nn/rope.h"
#include "tests/nn/device_tensor.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

constexpr int64_t kPositions = 50;

RopeTable table_of(int64_t width) {
  ModelConfig config;
  config.head_dim = width;
  return make_rope_table(config, kPositions);
}

Tensor some_positions(int64_t tokens) {
  const Tensor positions = at::empty({tokens}, at::kInt);
  for (int64_t t = 0; t < tokens; ++t) positions.mutable_data_ptr<int32_t>()[t] = static_cast<int32_t>(t * 7 % kPositions);
  return positions;
}

// Rotates x on the device and on the CPU and compares the whole storages.
void expect_same_rotation(const Tensor& x, bool inverse) {
  const RopeTable table = table_of(x.size(2));
  const Tensor positions = some_positions(x.size(0));
  const test::DeviceTensor dx(x), d_positions(positions), cos(table.cos), sin(table.sin);
  RopeLaunch launch;
  launch.rows = {dx.data(), d_positions.as<int32_t>(), cos.as<float>(), sin.as<float>(), x.stride(0), x.stride(1),
                 x.size(1), x.size(2) / 2, inverse};
  launch.tokens = x.size(0);
  launch.is_bf16 = x.scalar_type() == at::kBFloat16;
  test::nn_kernels().rope(launch, nullptr);
  const Tensor expected = test::clone_storage(x);
  rope_in_place(expected, positions, table, inverse);
  EXPECT_TRUE(test::same_storage(dx.read(), expected)) << x.sizes() << x.strides();
}

class RopeCuda : public test::DeviceTest {};

TEST_F(RopeCuda, EqualsTheCpuForEveryHeadWidth) {
  for (const int64_t width : {2, 6, 16, 64, 80, 96, 128, 256, 320}) {
    for (const int64_t heads : {1, 4, 5}) {
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        const Tensor x = test::random_tensor({9, heads, width}, 1).to(dtype);
        expect_same_rotation(x, false);
        expect_same_rotation(x, true);
      }
    }
  }
}

// Many tokens to a block, one token to a block, and more of a token than a block's threads take at once.
TEST_F(RopeCuda, EqualsTheCpuForEveryNumberOfTokensAndHeads) {
  for (const int64_t tokens : {1, 63, 64, 65, 130}) expect_same_rotation(test::random_tensor({tokens, 3, 64}, 2).to(at::kBFloat16), false);
  for (const int64_t heads : {32, 128, 131}) expect_same_rotation(test::random_tensor({3, heads, 128}, 3).to(at::kBFloat16), false);
}

TEST_F(RopeCuda, AcceptsHeadsInsideAFusedProjectionAndLeavesTheRestAlone) {
  for (const int64_t width : {64, 72, 30}) {
    const Tensor fused = test::random_tensor({20, 8 * width}, 4).to(at::kBFloat16);
    expect_same_rotation(fused.narrow(1, width, 4 * width).unflatten(1, {4, width}), false);
    expect_same_rotation(fused.narrow(1, width + 3, 4 * width).unflatten(1, {4, width}), true);
  }
}

TEST_F(RopeCuda, RefusesWhatItCannotLaunch) {
  RopeLaunch launch;
  EXPECT_NO_THROW(test::nn_kernels().rope(launch, nullptr));  // no tokens
  launch.tokens = 1;
  EXPECT_THROW(test::nn_kernels().rope(launch, nullptr), std::invalid_argument);
}

}  // namespace
}  // namespace nibble::nn
