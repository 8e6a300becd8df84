// Units: nn/copy_rows_cuda, nn/copy_rows_launch. Rows moved by a kernel, against LibTorch.
#include <gtest/gtest.h>

#include "tests/nn/device_tensor.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

Tensor row_numbers(const std::vector<int32_t>& numbers) { return at::tensor(numbers, at::kInt); }

CopyRowsLaunch launch_of(const test::DeviceTensor& in, const Tensor& in_like, const test::DeviceTensor& out, const Tensor& out_like,
                         int64_t count) {
  CopyRowsLaunch launch;
  launch.in = in.data();
  launch.out = out.data();
  launch.count = count;
  launch.row_bytes = in_like.size(1) * in_like.element_size();
  launch.in_stride_bytes = in_like.stride(0) * in_like.element_size();
  launch.out_stride_bytes = out_like.stride(0) * out_like.element_size();
  return launch;
}

struct Case {
  int64_t width, gap, offset;
};
class CopyRowsCuda : public test::DeviceTest, public testing::WithParamInterface<Case> {};
INSTANTIATE_TEST_SUITE_P(Shapes, CopyRowsCuda,
                         testing::Values(Case{1, 0, 0}, Case{64, 0, 0}, Case{64, 8, 8}, Case{65, 0, 0}, Case{96, 1, 3}, Case{4096, 0, 0},
                                         Case{2056, 16, 0}));

TEST_P(CopyRowsCuda, GathersAsIndexSelect) {
  const auto [width, gap, offset] = GetParam();
  const std::vector<int32_t> ids{3, 0, 96, 3, 41};
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor table = test::strided_rows(test::random_tensor({97, width}, 1).to(dtype), gap, offset);
    const Tensor out = test::strided_rows(at::zeros({5, width}, table.options()), gap, offset);
    const test::DeviceTensor d_table(table), d_out(out), d_ids(row_numbers(ids));
    CopyRowsLaunch launch = launch_of(d_table, table, d_out, out, 5);
    launch.in_rows = d_ids.as<int32_t>();
    test::nn_kernels().copy_rows(launch, nullptr);
    out.copy_(table.index_select(0, row_numbers(ids)));
    EXPECT_TRUE(test::same_storage(d_out.read(), out));
  }
}

TEST_P(CopyRowsCuda, ScattersAsIndexCopy) {
  const auto [width, gap, offset] = GetParam();
  const std::vector<int32_t> places{8, 2, 0, 5};
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor rows = test::strided_rows(test::random_tensor({4, width}, 2).to(dtype), gap, offset);
    const Tensor out = test::strided_rows(test::random_tensor({9, width}, 3).to(dtype), gap, offset);
    const test::DeviceTensor d_rows(rows), d_out(out), d_places(row_numbers(places));
    CopyRowsLaunch launch = launch_of(d_rows, rows, d_out, out, 4);
    launch.out_rows = d_places.as<int32_t>();
    test::nn_kernels().copy_rows(launch, nullptr);
    out.index_copy_(0, row_numbers(places).to(at::kLong), rows);
    EXPECT_TRUE(test::same_storage(d_out.read(), out));
  }
}

class CopyRowsCudaLists : public test::DeviceTest {};

TEST_F(CopyRowsCudaLists, ANegativeSourceGivesZerosAndANegativeDestinationNothing) {
  const Tensor in = test::random_tensor({6, 80}, 4).to(at::kBFloat16), out = at::ones({6, 80}, in.options());
  const test::DeviceTensor d_in(in), d_out(out), from(row_numbers({5, -1, 4, 3})), to(row_numbers({0, 2, -1, 1}));
  CopyRowsLaunch launch = launch_of(d_in, in, d_out, out, 4);
  launch.in_rows = from.as<int32_t>();
  launch.out_rows = to.as<int32_t>();
  test::nn_kernels().copy_rows(launch, nullptr);
  out[0].copy_(in[5]);
  out[2].zero_();
  out[1].copy_(in[3]);
  EXPECT_TRUE(at::equal(d_out.read(), out));
}

TEST_F(CopyRowsCudaLists, WithoutListsRowsAreCopiedInOrder) {
  const Tensor in = test::random_tensor({300, 24}, 5), out = test::strided_rows(at::zeros({300, 24}), 8, 0);
  const test::DeviceTensor d_in(in), d_out(out);
  test::nn_kernels().copy_rows(launch_of(d_in, in, d_out, out, 300), nullptr);
  EXPECT_TRUE(at::equal(d_out.read(), in));
}

TEST_F(CopyRowsCudaLists, RefusesWhatItCannotLaunch) {
  const Tensor in = test::random_tensor({2, 24}, 5);
  const test::DeviceTensor d_in(in), d_out(in);
  CopyRowsLaunch launch = launch_of(d_in, in, d_out, in, 2);
  launch.row_bytes = 31;
  EXPECT_THROW(test::nn_kernels().copy_rows(launch, nullptr), std::invalid_argument);
  launch.row_bytes = 0;
  EXPECT_THROW(test::nn_kernels().copy_rows(launch, nullptr), std::invalid_argument);
  launch.count = 0;
  EXPECT_NO_THROW(test::nn_kernels().copy_rows(launch, nullptr));
}

}  // namespace
}  // namespace nibble::nn
