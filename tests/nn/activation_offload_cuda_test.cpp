// Layer inputs that go to pinned host memory and come back, on the emulated device: with streams that do nothing before
// something waits for it, a missing event shows as another layer's values.
#include "nn/activation_offload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "gpu/runtime_table.h"
#include "nn/model.h"
#include "tests/emulator/emulator.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

constexpr int64_t kTokens = 64, kWidth = 64;

class Offload : public testing::TestWithParam<int> {
 protected:
  void start(emulator::Device device) {
    emulator::reset(device);
    stream_ = runtime().create_stream();
  }
  void TearDown() override {
    runtime().destroy_stream(stream_);
    EXPECT_EQ(emulator::leaks(), "");
  }
  static const gpu::RuntimeTable& runtime() { return *test::emulated_module()->runtime; }
  Place place() { return {at::kCPU, {test::emulated_module(), stream_}, &account_}; }

  static std::vector<float> pattern(int64_t layer, int64_t pass, int64_t elements) {
    std::vector<float> values(static_cast<size_t>(elements));
    std::iota(values.begin(), values.end(), static_cast<float>(1000 * layer + 7 * pass));
    return values;
  }

  void* stream_ = nullptr;
  MemoryAccount account_;
};
INSTANTIATE_TEST_SUITE_P(Layers, Offload, testing::Values(1, 2, 3, 5, 8));

// Two passes, the second without a backward, as where nothing has a label; then a third.
TEST_P(Offload, BringsEveryInputBackAsItWas) {
  start({.streams = emulator::Streams::kDeferred});
  {
    ActivationOffload offload(place());
    Arena arena(place());
    const int64_t layers = GetParam(), elements = kTokens * kWidth;
    std::vector<int64_t> all;
    for (int64_t l = 0; l < layers; ++l) all.push_back(2 * l + 1);  // every other layer
    for (int64_t pass = 0; pass < 3; ++pass) {
      const ArenaScope scope(arena);
      offload.begin(all, {kTokens, kWidth}, at::kFloat, arena);
      EXPECT_FALSE(offload.holds(0));
      for (const int64_t l : all) {
        ASSERT_TRUE(offload.holds(l));
        const Tensor x = offload.input(l);
        runtime().copy(x.data_ptr(), pattern(l, pass, elements).data(), static_cast<int64_t>(x.nbytes()), stream_);
        offload.store(l);
      }
      if (pass != 1) {
        for (auto l = all.rbegin(); l != all.rend(); ++l) {
          const Tensor x = offload.fetch(*l);
          std::vector<float> got(static_cast<size_t>(elements));
          runtime().copy(got.data(), x.const_data_ptr(), static_cast<int64_t>(x.nbytes()), stream_);
          EXPECT_EQ(got, pattern(*l, pass, elements)) << "layer " << *l << ", pass " << pass;
        }
      }
      offload.end();
      // Whatever comes next may use the same memory.
      runtime().fill_zero(arena.take({2, kTokens, kWidth}, at::kFloat).data_ptr(), 2 * elements * 4, stream_);
    }
    runtime().synchronize(stream_);
    EXPECT_EQ(offload.host_bytes(), std::max<int64_t>(0, layers - 2) * elements * 4);
  }
}

TEST_P(Offload, HoldsTwoInputsOnTheDeviceHoweverManyLayers) {
  // Two inputs of 4 MiB are one block of the arena, 16 MiB; with all of them there it would be 32 MiB for eight layers.
  start({.memory_bytes = int64_t{20} << 20});
  {
    ActivationOffload offload(place());
    Arena arena(place(), MemoryPart::kSavedActivations);
    std::vector<int64_t> all(static_cast<size_t>(GetParam()));
    std::iota(all.begin(), all.end(), 0);
    for (int pass = 0; pass < 2; ++pass) {
      const ArenaScope scope(arena);
      offload.begin(all, {1024, 1024}, at::kFloat, arena);
      for (const int64_t l : all) {
        offload.input(l);
        offload.store(l);
      }
      for (auto l = all.rbegin(); l != all.rend(); ++l) offload.fetch(*l);
      offload.end();
    }
    EXPECT_LE(emulator::memory_use().peak_on_device_bytes, int64_t{20} << 20);
    EXPECT_EQ(account_.in_use(MemoryPart::kSavedActivations, MemorySide::kHost), offload.host_bytes());
  }
  EXPECT_EQ(account_.total(MemorySide::kHost), 0);
  EXPECT_EQ(account_.total(MemorySide::kDevice), 0);
}

// Each runtime call fails once: an error of ours, quoting the call, and nothing is left behind.
TEST_P(Offload, GivesEverythingBackWhenACallFails) {
  for (const char* function : {"cudaMallocHost", "cudaMalloc", "cudaStreamCreateWithFlags", "cudaEventCreateWithFlags", "cudaMemcpyAsync",
                               "cudaEventRecord", "cudaStreamWaitEvent"}) {
    if (stream_ != nullptr) runtime().destroy_stream(stream_);
    start({});
    std::string message;
    try {
      ActivationOffload offload(place());
      Arena arena(place());
      emulator::fail_call(function, 1, 2);
      offload.begin({0, 1, 2, 3}, {kTokens, kWidth}, at::kFloat, arena);
      for (const int64_t l : {0, 1, 2, 3}) {
        offload.input(l);
        offload.store(l);
      }
      for (const int64_t l : {3, 2, 1, 0}) offload.fetch(l);
      offload.end();
    } catch (const Error& error) {
      message = error.what();
    }
    EXPECT_THAT(message, testing::HasSubstr(function));
    if (std::string(function) == "cudaMallocHost") {
      EXPECT_THAT(message, testing::StartsWith("saved activations asked for"));
    }
  }
}

// A whole model: the bits of `layer`, with less on the device.
TEST_P(Offload, TrainsAsRecomputeLayerDoes) {
  start({});
  test::TinyModelOptions options;
  options.layers = GetParam();
  // Mixed with other levels, too.
  const auto policies = [&](Recompute level) {
    std::vector<RecomputePolicy> all(static_cast<size_t>(GetParam()), {level});
    if (GetParam() == 5) all[2] = {Recompute::kMlp};
    return all;
  };
  std::vector<std::vector<Tensor>> gradients;
  std::vector<double> losses;
  std::vector<int64_t> peaks;
  for (const Recompute level : {Recompute::kLayer, Recompute::kOffload}) {
    Model model = test::tiny_model(options);
    {
      Pass pass(model, 64, place());
      for (uint64_t number = 0; number < 2; ++number) {
        const test::TinyBatch batch({9, 1, 14}, options.vocab, number);
        PassOptions pass_options;
        pass_options.recompute = policies(level);
        pass_options.dropout = {true, 5, number};
        pass.forward_backward(batch.view(), pass_options);
        losses.push_back(pass.collect().nll);
      }
      peaks.push_back(pass.saved_peak_bytes());
    }
    gradients.emplace_back();
    model.each_lora([&](const std::string&, Lora& lora) { gradients.back().insert(gradients.back().end(), {lora.da, lora.db}); });
  }
  EXPECT_EQ(losses[0], losses[2]);
  EXPECT_EQ(losses[1], losses[3]);
  ASSERT_EQ(gradients[0].size(), gradients[1].size());
  for (size_t i = 0; i < gradients[0].size(); ++i) EXPECT_TRUE(at::equal(gradients[0][i], gradients[1][i])) << i;
  if (GetParam() == 8) {
    EXPECT_LT(peaks[1], peaks[0]);
  }
}

}  // namespace
}  // namespace nibble::nn
