// Pieces of a step as graphs: nibble's own kernels recorded once and replayed, the same bits as run plainly.
#include "nn/step_graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <any>
#include <stdexcept>

#include "gpu/runtime_table.h"
#include "nn/rms_norm.h"
#include "nn/swiglu.h"
#include "nn/weight_panels.h"
#include "quant/blockwise.h"
#include "tests/emulator/device_tensor.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

using Way = StepGraphs::Run;
using emulator::Streams;
using testing::HasSubstr;

class StepGraphCuda : public testing::TestWithParam<Streams> {
 protected:
  void SetUp() override {
    emulator::reset({.streams = GetParam()});
    place_.queue = {test::emulated_module(), runtime().create_stream()};
    for (Tensor* t : {&x_, &gate_, &up_, &weight_}) *t = test::to_device(*t);
    normed_ = test::device_empty({kRows, kWidth}, at::kFloat);
    act_ = test::device_empty({kRows, kWidth}, at::kFloat);
    rstd_ = test::device_empty({kRows}, at::kFloat);
  }
  void TearDown() override {
    for (Tensor* t : {&x_, &gate_, &up_, &weight_, &normed_, &act_, &rstd_}) *t = Tensor();
    runtime().destroy_stream(place_.queue.stream);
    EXPECT_EQ(emulator::leaks(), "");
  }
  const gpu::RuntimeTable& runtime() const { return *test::emulated_module()->runtime; }
  void synchronize() { runtime().synchronize(place_.queue.stream); }

  // Two launches that follow from x, gate and up.
  void piece() {
    ++pieces_called_;
    rms_norm(x_, weight_, 1e-5, normed_, rstd_, place_.queue);
    swiglu(gate_, up_, act_, place_.queue);
  }
  void expect_right() {
    synchronize();
    const Tensor normed = at::empty_like(x_), act = at::empty_like(x_), rstd = at::empty({kRows});
    rms_norm(x_.clone(), weight_.clone(), 1e-5, normed, rstd);
    swiglu(gate_.clone(), up_.clone(), act);
    // Rows are added up in another order, as in rms_norm_cuda_test.cpp.
    EXPECT_LT((normed_ - normed).abs().max().item<double>(), 1e-5);
    EXPECT_TRUE(at::equal(act_, act));
  }

  static constexpr int64_t kRows = 5, kWidth = 64;
  Place place_;
  Tensor x_ = test::random_tensor({kRows, kWidth}, 1), gate_ = test::random_tensor({kRows, kWidth}, 2),
         up_ = test::random_tensor({kRows, kWidth}, 3), weight_ = test::random_tensor({kWidth}, 4);
  Tensor normed_, act_, rstd_;
  int pieces_called_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Streams, StepGraphCuda, testing::Values(Streams::kEager, Streams::kDeferred));

TEST_P(StepGraphCuda, RepeatsAPieceOnNewValues) {
  StepGraphs graphs(place_);
  for (const Way expected : {Way::kPlain, Way::kRecorded, Way::kReplayed, Way::kReplayed}) {
    x_.add_(1.0);
    gate_.mul_(-1.5);
    normed_.fill_(-7);
    EXPECT_EQ(graphs.run({5, 64}, [&] { piece(); }), expected);
    expect_right();
  }
  EXPECT_EQ(pieces_called_, 2);
  EXPECT_EQ(graphs.graphs(), 1u);
  EXPECT_EQ(graphs.failure(), "");
}

TEST_P(StepGraphCuda, LaunchesAPieceTwiceHoweverOftenItRuns) {
  StepGraphs graphs(place_);
  for (int i = 0; i < 6; ++i) graphs.run({5, 64}, [&] { piece(); });
  EXPECT_EQ(emulator::calls("cudaLaunchKernelEx"), 4) << "two plain, two recorded";
  EXPECT_EQ(emulator::calls("cudaGraphLaunch"), 5);
}

TEST_P(StepGraphCuda, TellsKeysApartAndKeepsTheNewest) {
  StepGraphs graphs(place_, /*most=*/2);
  for (int64_t key = 0; key < 3; ++key) {
    for (int i = 0; i < 2; ++i) graphs.run({key}, [&] { piece(); });
  }
  EXPECT_EQ(graphs.graphs(), 2u);
  EXPECT_EQ(graphs.run({2}, [&] { piece(); }), Way::kReplayed);
  EXPECT_EQ(graphs.run({1}, [&] { piece(); }), Way::kReplayed);
  EXPECT_EQ(graphs.run({0}, [&] { piece(); }), Way::kPlain) << "the oldest is gone, and 2 goes";
  EXPECT_EQ(graphs.run({2}, [&] { piece(); }), Way::kPlain);
  graphs.clear();
  EXPECT_EQ(graphs.graphs(), 0u);
  EXPECT_EQ(graphs.run({1}, [&] { piece(); }), Way::kPlain);
  expect_right();
}

TEST_P(StepGraphCuda, RunsPlainlyWhereRecordingFails) {
  for (const char* function : {"cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"}) {
    StepGraphs graphs(place_);
    constexpr int kEccError = 214;
    emulator::fail_call(function, 1, kEccError);
    for (int i = 0; i < 3; ++i) {
      x_.add_(1.0);
      EXPECT_EQ(graphs.run({1}, [&] { piece(); }), Way::kPlain);
      expect_right();
    }
    EXPECT_THAT(graphs.failure(), HasSubstr(function));
  }
}

TEST_P(StepGraphCuda, AnAllocationWhileRecordingIsAFailureOfTheRecordingOnly) {
  StepGraphs graphs(place_);
  std::vector<void*> allocated;
  const auto allocating = [&] {
    allocated.push_back(runtime().allocate(64));
    piece();
  };
  for (int i = 0; i < 3; ++i) EXPECT_EQ(graphs.run({1}, allocating), Way::kPlain);
  EXPECT_THAT(graphs.failure(), HasSubstr("not permitted when stream is capturing"));
  expect_right();
  for (void* p : allocated) runtime().release(p);
}

TEST_P(StepGraphCuda, LibTorchsAllocationsWhileRecordingAreAFailureOfTheRecordingOnly) {
  StepGraphs graphs(place_);
  const auto allocating = [&] {
    const Tensor temporary = at::empty({16});
    piece();
  };
  for (int i = 0; i < 3; ++i) {
    x_.add_(1.0);
    EXPECT_EQ(graphs.run({1}, allocating), Way::kPlain);
    expect_right();
  }
  EXPECT_THAT(graphs.failure(), HasSubstr("LibTorch allocated memory 1 times"));
  EXPECT_EQ(graphs.graphs(), 0u);
}

TEST_P(StepGraphCuda, BringsBackWhatAPieceLeavesOnTheHost) {
  for (const bool fails : {false, true}) {
    StepGraphs graphs(place_);
    int value = 0, called = 0;
    const StepGraphs::HostState host{[&] { return std::any(value); }, [&](const std::any& saved) { value = std::any_cast<int>(saved); }};
    const auto work = [&] {
      piece();
      value += 10;
      ++called;
    };
    EXPECT_EQ(graphs.run({1}, work, host), Way::kPlain);
    EXPECT_EQ(value, 10);
    constexpr int kEccError = 214;
    if (fails) emulator::fail_call("cudaStreamEndCapture", 1, kEccError);
    value = 5;
    EXPECT_EQ(graphs.run({1}, work, host), fails ? Way::kPlain : Way::kRecorded);
    EXPECT_EQ(value, 15) << "once, not twice";
    value = 0;  // a replay brings what the recording left, since the key says that it began with the same
    EXPECT_EQ(graphs.run({1}, work, host), fails ? Way::kPlain : Way::kReplayed);
    EXPECT_EQ(value, fails ? 10 : 15);
    EXPECT_EQ(called, fails ? 4 : 2);
    EXPECT_EQ(graphs.counts().plain, fails ? 3 : 1);
    EXPECT_EQ(graphs.counts().recorded, fails ? 0 : 1);
    EXPECT_EQ(graphs.counts().replayed, fails ? 0 : 1);
  }
}

TEST_P(StepGraphCuda, LetsThroughWhatThePieceThrows) {
  StepGraphs graphs(place_);
  const auto broken = [] { throw std::invalid_argument("a fault of the piece"); };
  EXPECT_THROW(graphs.run({1}, broken), std::invalid_argument);
  EXPECT_THROW(graphs.run({1}, broken), std::invalid_argument);
}

TEST_P(StepGraphCuda, HasWeightsDecodedAheadWithinAPiece) {
  std::vector<quant::QuantizedWeight> here, there;
  std::vector<Tensor> copies;
  for (int64_t i = 0; i < 4; ++i) {
    here.push_back(quant::quantize(test::random_tensor({8 + 8 * i, 32}, static_cast<uint64_t>(i) + 1), {}));
    there.push_back(here.back());
    for (Tensor* t : {&there.back().codes, &there.back().absmax_codes, &there.back().nested_absmax}) *t = test::to_device(*t);
    copies.push_back(test::device_empty({8 + 8 * i, 32}, at::kFloat));
  }
  {
    WeightPanels panels(place_);
    StepGraphs graphs(place_);
    const auto decode = [&] {
      panels.begin(0);
      for (size_t i = 0; i < there.size(); ++i) {
        const Tensor decoded = panels.decoded(there[i], at::kFloat);
        runtime().copy(copies[i].data_ptr(), decoded.data_ptr(), static_cast<int64_t>(decoded.nbytes()), place_.queue.stream);
      }
    };
    for (const Way expected : {Way::kPlain, Way::kRecorded, Way::kReplayed}) {
      for (Tensor& copy : copies) copy.fill_(-1);
      EXPECT_EQ(graphs.run({0}, decode), expected) << graphs.failure();
      synchronize();
      for (size_t i = 0; i < here.size(); ++i) EXPECT_TRUE(at::equal(copies[i], quant::dequantize(here[i], at::kFloat)));
    }
  }
  there.clear();
}

TEST(StepGraphs, AreInertWhereNothingCanBeRecorded) {
  emulator::reset();
  Place default_stream;
  default_stream.queue = {test::emulated_module(), nullptr};
  int called = 0;
  for (const Place& place : {Place{}, default_stream}) {
    StepGraphs graphs(place);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(graphs.run({1}, [&] { ++called; }), Way::kPlain);
  }
  EXPECT_EQ(called, 6);
  EXPECT_EQ(emulator::calls("cudaStreamBeginCapture"), 0);
}

}  // namespace
}  // namespace nibble::nn
