// Units: nn/layer_pieces, nn/layer_attention. Training steps whose pieces of layers are repeated as graphs, on the emulated device:
// the bits of the same steps run plainly, whatever the pass; and what must not be repeated is not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <utility>

#include "gpu/runtime_table.h"
#include "nn/model.h"
#include "nn/pinned_feed.h"
#include "nn/step_graph.h"
#include "optim/optimizer.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/model_on_device.h"
#include "trainer/training_model.h"

namespace nibble::nn {
namespace {

using Lengths = std::vector<int32_t>;
using Step = std::vector<Lengths>;  // the documents of each of its micro-batches

struct Case {
  const char* name;
  Recompute recompute = Recompute::kNone;
  at::ScalarType dtype = at::kBFloat16;
  bool quantized = true, qk_norm = false, bias = false;
  int64_t window = 0, mlp_chunk_tokens = 0;
  float dropout = 0.0f;

  // The inputs of the last two never go home.
  int64_t layers() const { return recompute == Recompute::kOffload ? 3 : 2; }
  bool rebuilds_heads() const { return recompute == Recompute::kLayer || recompute == Recompute::kOffload; }
};

// What must be the same, to the bit.
struct Trained {
  std::vector<double> losses, grad_norms;
  std::vector<Tensor> adapters;
  std::vector<int64_t> launches;  // by the host, of each step
  StepGraphs::Counts counts;
  size_t graphs = 0;
  std::string failure;
};

void expect_same(const Trained& got, const Trained& expected) {
  EXPECT_EQ(got.losses, expected.losses);
  EXPECT_EQ(got.grad_norms, expected.grad_norms);
  ASSERT_EQ(got.adapters.size(), expected.adapters.size());
  for (size_t i = 0; i < got.adapters.size(); ++i) EXPECT_TRUE(at::equal(got.adapters[i], expected.adapters[i])) << "factor " << i;
}

// Of 24 tokens each, cut into documents in several ways.
const Step kTwo{{9, 1, 14}, {24}}, kThree{{12, 12}, {3, 21}, {8, 8, 8}}, kOne{{10, 14}};
// Of another number of tokens.
const Step kShorter{{9, 2}, {11}};

class StepGraphsOnDevice : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override { emulator::reset(); }
  void TearDown() override { EXPECT_EQ(emulator::leaks(), ""); }
  const gpu::RuntimeTable& runtime() const { return *test::emulated_module()->runtime; }

  static Model make_model(const Case& c) {
    test::TinyModelOptions o;
    o.dtype = c.dtype;
    o.quantized = c.quantized;
    o.qk_norm = c.qk_norm;
    o.bias = c.bias;
    o.window = c.window;
    o.layers = c.layers();
    Model model = test::tiny_model(o);
    model.each_lora([&](const std::string&, Lora& lora) { lora.dropout = c.dropout; });
    return model;
  }

  // `prepare` has the pass before the first step, and `between` after each.
  Trained train(const Case& c, const std::vector<Step>& steps, bool graphs, const std::function<void(Model&, const Place&)>& prepare = {},
                const std::function<void(Pass&, size_t)>& between = {}) {
    Place place{at::kCPU, {test::emulated_module(), runtime().create_stream()}};
    Trained out;
    {
      Model model = make_model(c);
      test::move_to_device(model);
      if (prepare) prepare(model, place);
      Pass pass(model, 64, place);
      pass.use_graphs(graphs);
      pass.set_mlp_chunk_tokens(c.mlp_chunk_tokens);
      optim::Optimizer optimizer({}, trainer::parameters(model), nullptr, place.queue);
      for (size_t i = 0; i < steps.size(); ++i) {
        const int64_t before = emulator::calls("cudaLaunchKernelEx");
        step(c, steps[i], i, model, pass, optimizer, out);
        out.launches.push_back(emulator::calls("cudaLaunchKernelEx") - before);
        if (between) between(pass, i);
      }
      model.each_lora([&](const std::string&, const Lora& lora) { out.adapters.insert(out.adapters.end(), {lora.a.clone(), lora.b.clone()}); });
      if (pass.graphs() != nullptr) {
        out.counts = pass.graphs()->counts();
        out.graphs = pass.graphs()->graphs();
        out.failure = pass.graphs()->failure();
      }
    }
    runtime().destroy_stream(place.queue.stream);
    return out;
  }

  static void step(const Case& c, const Step& micro_batches, size_t number, Model& model, Pass& pass, optim::Optimizer& optimizer,
                   Trained& out) {
    zero_gradients(model);
    int64_t tokens = 0;
    for (size_t m = 0; m < micro_batches.size(); ++m) {
      const uint64_t micro_step = number << 16 | m;
      const test::TinyBatch batch(micro_batches[m], model.config.vocab_size, micro_step);
      PassOptions options;
      options.recompute.assign(model.layers.size(), {c.recompute});
      options.loss_chunk_tokens = 8;
      options.dropout = {true, 5, micro_step};
      tokens += pass.forward_backward(batch.view(), options).tokens;
    }
    optimizer.step(1e-2, tokens, 1.0);
    out.losses.push_back(pass.collect().nll);
    out.grad_norms.push_back(optimizer.outcome().grad_norm);
  }
};
INSTANTIATE_TEST_SUITE_P(
    Passes, StepGraphsOnDevice,
    testing::Values(Case{"keeps_all"}, Case{"dense_fp32", Recompute::kNone, at::kFloat, false}, Case{"elementwise", Recompute::kElementwise},
                    Case{"mlp_with_bias", Recompute::kMlp, at::kFloat, true, false, true},
                    Case{"layer_with_qk_norm", Recompute::kLayer, at::kBFloat16, true, true},
                    Case{"offload", Recompute::kOffload}, Case{"window", Recompute::kNone, at::kFloat, true, false, false, 7},
                    Case{"dropout", Recompute::kLayer, at::kFloat, true, false, false, 0, 0, 0.2f},
                    Case{"mlp_in_chunks", Recompute::kMlp, at::kFloat, true, false, false, 0, 10},
                    Case{"mlp_in_chunks_kept_with_dropout", Recompute::kNone, at::kBFloat16, true, false, false, 0, 10, 0.1f}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_P(StepGraphsOnDevice, AreTheBitsOfPlainSteps) {
  // Shapes that repeat, a change in between, and back; steps of one, two and three micro-batches.
  const std::vector<Step> steps{kTwo, kThree, kShorter, kTwo, kOne, kShorter, kThree};
  const Trained plain = train(GetParam(), steps, false), graphs = train(GetParam(), steps, true);
  expect_same(graphs, plain);
  EXPECT_EQ(graphs.failure, "");
  EXPECT_GT(graphs.counts.replayed, graphs.counts.recorded);
  EXPECT_EQ(static_cast<size_t>(graphs.counts.recorded), graphs.graphs);
  EXPECT_NE(plain.losses.front(), plain.losses.back());
}

TEST_P(StepGraphsOnDevice, RepeatEveryPieceOnceShapesHaveSettled) {
  const std::vector<Step> steps(4, kTwo);
  const Trained plain = train(GetParam(), steps, false), graphs = train(GetParam(), steps, true);
  expect_same(graphs, plain);
  const int64_t pieces = GetParam().layers() * (GetParam().rebuilds_heads() ? 5 : 4), micro_batches = 2;
  EXPECT_EQ(graphs.counts.recorded, pieces) << "one graph for each";
  EXPECT_EQ(graphs.counts.plain + graphs.counts.recorded + graphs.counts.replayed, pieces * micro_batches * 4);
  EXPECT_GE(graphs.counts.replayed, pieces * micro_batches * 2) << "all of the last two steps";
  // What is left are the embedding, the last norm, the loss, the optimizer.
  EXPECT_LT(graphs.launches.back(), plain.launches.back() / 3);
  EXPECT_EQ(plain.launches.back(), plain.launches[1]);
}

// What does not depend on what a pass computes, on fewer passes.
using StepGraphsFallBack = StepGraphsOnDevice;
INSTANTIATE_TEST_SUITE_P(Passes, StepGraphsFallBack,
                         testing::Values(Case{"keeps_all"}, Case{"layer_with_dropout", Recompute::kLayer, at::kFloat, true, false, false, 0, 0, 0.2f}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(StepGraphsFallBack, GoOnPlainlyWhereRecordingFails) {
  const std::vector<Step> steps(4, kTwo);
  const Trained plain = train(GetParam(), steps, false);
  constexpr int kEccError = 214;
  for (const auto& [function, nth] : {std::pair("cudaStreamBeginCapture", 1), std::pair("cudaStreamEndCapture", 1),
                                      std::pair("cudaGraphInstantiate", 1), std::pair("cudaStreamEndCapture", 6)}) {
    const Trained failing = train(GetParam(), steps, true, [&, f = function, n = nth](Model&, const Place&) { emulator::fail_call(f, n, kEccError); });
    expect_same(failing, plain);
    EXPECT_THAT(failing.failure, testing::HasSubstr(function));
    EXPECT_EQ(failing.counts.recorded, nth - 1);
    EXPECT_EQ(failing.graphs, static_cast<size_t>(nth - 1));
    EXPECT_EQ(failing.launches.back(), plain.launches.back());
  }
}

// A kernel that cannot be launched while a piece is recorded: what the piece had done to arenas and panels by then is undone.
TEST_P(StepGraphsFallBack, GoOnPlainlyWhereAPieceBreaksOffWithin) {
  const std::vector<Step> steps(4, kTwo);
  const Trained plain = train(GetParam(), steps, false);
  constexpr int kLaunchFailure = 719;
  for (const int within : {1, 2, 3}) {
    const Trained failing = train(GetParam(), steps, true, {}, [&](Pass& pass, size_t i) {
      if (i != 0) return;
      // The first layer's first piece has had two keys in two passes. In the third it is recorded, right after the embedding.
      EXPECT_EQ(pass.graphs()->failure(), "");
      emulator::fail_call("cudaLaunchKernelEx", 1 + within, kLaunchFailure);
    });
    expect_same(failing, plain);
    EXPECT_THAT(failing.failure, testing::HasSubstr("cudaLaunchKernelEx"));
  }
}

// Nothing is done before somebody waits for it, a step's one read of its loss: what was done in the wrong order or not at all in a
// recording, or read on the host too early, would show.
TEST_P(StepGraphsFallBack, AreTheSameBitsWhereTheDeviceComesLater) {
  const std::vector<Step> steps{kTwo, kThree, kShorter, kOne, kTwo};
  const Trained plain = train(GetParam(), steps, false);
  for (const bool graphs : {false, true}) {
    emulator::reset({.streams = emulator::Streams::kDeferred});
    const Trained later = train(GetParam(), steps, graphs);
    expect_same(later, plain);
    EXPECT_EQ(later.counts.replayed > 0, graphs);
  }
}

TEST_P(StepGraphsFallBack, StayOutOfEvaluation) {
  const std::vector<Step> steps(5, kOne);
  std::vector<double> scores[2];
  for (const bool graphs : {false, true}) {
    std::optional<StepGraphs::Counts> before;
    const Trained trained = train(GetParam(), steps, graphs, {}, [&](Pass& pass, size_t) {
      if (graphs) before = pass.graphs()->counts();
      pass.forward_loss(test::TinyBatch({20, 4}, 96, 77).view(), {});
      scores[graphs].push_back(pass.collect().nll);
      if (!graphs) return;
      EXPECT_EQ(pass.graphs()->counts().plain, before->plain);
      EXPECT_EQ(pass.graphs()->counts().replayed, before->replayed);
    });
    if (graphs) {
      EXPECT_GT(trained.counts.replayed, 0);
    }
  }
  EXPECT_EQ(scores[0], scores[1]);
}

TEST_P(StepGraphsFallBack, NeverRepeatWhatReadsAStreamedBase) {
  const std::vector<Step> steps(4, kTwo);
  const auto stream = [](Model& model, const Place& place) { model.feed = std::make_shared<PinnedFeed>(model, place); };
  const Trained plain = train(GetParam(), steps, false), streamed = train(GetParam(), steps, true, stream);
  expect_same(streamed, plain);
  EXPECT_EQ(streamed.counts.recorded, 0);
  EXPECT_EQ(streamed.counts.replayed, 0);
  EXPECT_EQ(emulator::calls("cudaStreamBeginCapture"), 0);
}

TEST_P(StepGraphsFallBack, AreGivenBackWhenTheyAreNoLongerWanted) {
  const std::vector<Step> steps(6, kOne);
  const Trained plain = train(GetParam(), steps, false);
  const Trained stopped = train(GetParam(), steps, true, {}, [](Pass& pass, size_t i) {
    if (i != 3) return;
    EXPECT_GT(pass.graphs()->graphs(), 0u);
    EXPECT_THAT(emulator::leaks(), testing::HasSubstr("graphs"));
    pass.use_graphs(false);
    EXPECT_THAT(emulator::leaks(), testing::Not(testing::HasSubstr("graphs")));
    EXPECT_EQ(pass.graphs(), nullptr);
  });
  expect_same(stopped, plain);
}

// A feed whose weights are where they always were, such as one that only counts.
class RestingFeed final : public BaseFeed {
 public:
  void enter(int64_t, int64_t) override {}
  bool resident(int64_t) const override { return true; }
};

TEST(StepGraphsOnDeviceAlone, AreNotOfACpu) {
  test::TinyModelOptions options;
  Model model = test::tiny_model(options);
  Pass pass(model, 64);
  pass.use_graphs(true);
  EXPECT_EQ(pass.graphs(), nullptr);
  EXPECT_GT(pass.forward_backward(test::TinyBatch({9, 14}, 96).view(), {}).nll, 0.0);
}

TEST_P(StepGraphsFallBack, RepeatWhatReadsWeightsOfAFeedThatStay) {
  const std::vector<Step> steps(5, kTwo);
  const Trained plain = train(GetParam(), steps, false);
  const Trained fed = train(GetParam(), steps, true, [](Model& model, const Place&) { model.feed = std::make_shared<RestingFeed>(); });
  expect_same(fed, plain);
  EXPECT_GT(fed.counts.replayed, 0);
}

}  // namespace
}  // namespace nibble::nn
