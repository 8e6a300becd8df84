#include "nn/embedding.h"

#include <gtest/gtest.h>

#include "tests/emulator/device_tensor.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

TEST(Embedding, IsTheTablesRowOnTheCpuAndOnADevice) {
  emulator::reset();
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor table = test::random_tensor({7, 24}, 3).to(dtype), ids = at::tensor({6, 0, 3, 3, 5}, at::kInt);
    const Tensor expected = table.index({ids.to(at::kLong)}), here = at::empty_like(expected);
    embed(table, ids, here, {});
    EXPECT_TRUE(at::equal(here, expected));
    const Tensor there = test::device_empty(expected.sizes(), dtype);
    embed(test::to_device(table), test::to_device(ids), there, {test::emulated_module(), nullptr});
    EXPECT_TRUE(at::equal(there, expected));
  }
  EXPECT_EQ(emulator::leaks(), "");
}

TEST(Embedding, ChecksShapes) {
  EXPECT_THROW(embed(at::zeros({4, 8}), at::zeros({2}, at::kInt), at::zeros({3, 8}), {}), std::exception);
}

}  // namespace
}  // namespace nibble::nn
