// LibTorch's operators take their turn in a stream: after what was queued before them, in a recording each time it is replayed.
#include "nn/torch_ops.h"

#include <gtest/gtest.h>

#include <functional>

#include "gpu/runtime_table.h"
#include "tests/emulator/device_tensor.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

class TorchOpsCuda : public testing::Test {
 protected:
  void SetUp() override {
    emulator::reset({.streams = emulator::Streams::kDeferred});
    queue_ = {test::emulated_module(), runtime().create_stream()};
  }
  void TearDown() override {
    runtime().destroy_stream(queue_.stream);
    EXPECT_EQ(emulator::leaks(), "");
  }
  const gpu::RuntimeTable& runtime() const { return *test::emulated_module()->runtime; }
  void synchronize() { runtime().synchronize(queue_.stream); }

  gpu::Queue queue_;
  Tensor a_ = test::random_tensor({5, 7}, 1), b_ = test::random_tensor({7, 3}, 2), c_ = test::random_tensor({5, 3}, 3);
};

TEST_F(TorchOpsCuda, ComputeWhatTheirNamesSayInTheStreamsOrder) {
  const Tensor row = test::random_tensor({3}, 4), product = at::empty({5, 3}), biased = at::empty({5, 3}), sum = c_.clone(),
               doubled = at::empty({5, 3}, at::kDouble), zeroed = at::ones({4});
  matmul(a_, b_, product, queue_);
  add_matmul(row, a_, b_, biased, queue_);
  add_matmul(sum, a_, b_, sum, queue_, 0.5f, 2.0f);
  copy_into(product, doubled, queue_);
  add_into(product, doubled, queue_);
  fill_zero(zeroed, queue_);
  EXPECT_TRUE(at::equal(sum, c_)) << "it is not its turn yet";
  synchronize();
  const Tensor expected = at::mm(a_, b_);
  EXPECT_TRUE(at::equal(product, expected));
  EXPECT_TRUE(at::equal(biased, at::addmm(row, a_, b_)));
  EXPECT_TRUE(at::equal(sum, at::addmm(c_, a_, b_, 0.5, 2.0)));
  EXPECT_TRUE(at::equal(doubled, 2.0 * expected.to(at::kDouble)));
  EXPECT_TRUE(at::equal(zeroed, at::zeros({4})));
}

TEST_F(TorchOpsCuda, DoNotReadWhatBetaZeroLeavesOut) {
  const Tensor out = at::full({5, 3}, std::numeric_limits<float>::quiet_NaN());
  add_matmul(out, a_, b_, out, queue_, /*beta=*/0.0f);
  synchronize();
  EXPECT_TRUE(at::equal(out, at::mm(a_, b_)));
}

TEST_F(TorchOpsCuda, WaitForWhatIsQueuedBeforeThem) {
  const Tensor from = test::to_device(a_), on_device = test::device_empty({5, 7}, at::kFloat), product = at::empty({5, 3});
  runtime().copy(on_device.data_ptr(), from.data_ptr(), static_cast<int64_t>(from.nbytes()), queue_.stream);
  matmul(on_device, b_, product, queue_);
  synchronize();
  EXPECT_TRUE(at::equal(product, at::mm(a_, b_)));
}

TEST_F(TorchOpsCuda, AreRecordedAndRepeatedOnNewValues) {
  const Tensor product = at::zeros({5, 3}), twice = at::zeros({5, 3});
  runtime().begin_capture(queue_.stream);
  matmul(a_, b_, product, queue_);
  copy_into(product, twice, queue_);
  add_into(product, twice, queue_);
  void* graph = runtime().end_capture(queue_.stream);
  synchronize();
  EXPECT_TRUE(at::equal(twice, at::zeros({5, 3}))) << "recording does nothing";
  for (int i = 0; i < 3; ++i) {
    a_.add_(1.0);
    runtime().replay(graph, queue_.stream);
    synchronize();
    EXPECT_TRUE(at::equal(twice, 2.0 * at::mm(a_, b_)));
  }
  runtime().destroy_graph(graph);
}

TEST_F(TorchOpsCuda, KeepTheirTensorsAsLongAsTheRecording) {
  auto* graph = [&]() -> void* {
    const Tensor value = test::to_device(a_), out = test::device_empty({5, 7}, at::kFloat);
    runtime().begin_capture(queue_.stream);
    copy_into(value, out, queue_);
    return runtime().end_capture(queue_.stream);
  }();
  EXPECT_GT(emulator::memory_use().device_bytes, 0);
  runtime().replay(graph, queue_.stream);
  synchronize();
  runtime().destroy_graph(graph);
  EXPECT_EQ(emulator::memory_use().device_bytes, 0);
}

TEST(TorchOps, AreDoneAtOnceWithoutAQueue) {
  const Tensor a = test::random_tensor({2, 3}, 1), out = at::empty({2, 3});
  copy_into(a, out, {});
  EXPECT_TRUE(at::equal(out, a));
}

}  // namespace
}  // namespace nibble::nn
