// Units: nn/pinned_feed, nn/host_embedding. A base larger than the emulated device's memory: the same steps as with the
// base resident, within the limit.
#include "nn/pinned_feed.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "nn/host_embedding.h"
#include "nn/lora.h"
#include "tests/emulator/device_tensor.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

Place emulated_place() { return {at::kCPU, {test::emulated_module(), nullptr}}; }

// The emulated device's tensors are the CPU's for LibTorch; kernels take either. What is streamed lies in device memory.
test::TinyModelOptions options_of(int64_t layers) {
  test::TinyModelOptions o;
  o.quantized = true;
  o.layers = layers;
  return o;
}

int64_t packed_bytes(const Model& model) {
  int64_t bytes = 0;
  for (const Layer& layer : model.layers) {
    for (int p = 0; p < kProjections; ++p) bytes += layer.projection(static_cast<Projection>(p)).weight.packed.bytes();
  }
  return bytes;
}

struct Outcome {
  std::vector<double> losses;
  std::vector<Tensor> gradients;
};

// Two steps of training, an evaluation, and gradients of both micro-batches.
Outcome train(Model& model, Recompute recompute) {
  Pass pass(model, 64, emulated_place());
  Outcome out;
  zero_gradients(model);
  for (uint64_t i = 0; i < 2; ++i) {
    const test::TinyBatch batch({9, 14}, 96, i);
    PassOptions options;
    options.recompute.assign(model.layers.size(), {recompute});
    pass.forward_backward(batch.view(), options);
    out.losses.push_back(pass.collect().nll);
    pass.forward_loss(batch.view(), options);
    out.losses.push_back(pass.collect().nll);
  }
  model.each_lora([&](const std::string&, Lora& lora) { out.gradients.insert(out.gradients.end(), {lora.da.clone(), lora.db.clone()}); });
  return out;
}

void expect_same(const Outcome& a, const Outcome& b) {
  EXPECT_EQ(a.losses, b.losses);
  ASSERT_EQ(a.gradients.size(), b.gradients.size());
  for (size_t i = 0; i < a.gradients.size(); ++i) EXPECT_TRUE(at::equal(a.gradients[i], b.gradients[i])) << i;
}

class PinnedFeedTest : public testing::TestWithParam<int64_t> {
 protected:
  void TearDown() override { EXPECT_EQ(emulator::leaks(), ""); }
};
INSTANTIATE_TEST_SUITE_P(Layers, PinnedFeedTest, testing::Values(1, 2, 5));

TEST_P(PinnedFeedTest, TrainsAsTheResidentBaseDoes) {
  for (const Recompute recompute : {Recompute::kNone, Recompute::kLayer}) {
    emulator::reset();
    Model resident = test::tiny_model(options_of(GetParam()));
    const Outcome expected = train(resident, recompute);
    Model streamed = test::tiny_model(options_of(GetParam()));
    std::vector<int64_t> taken;
    const auto feed = std::make_shared<PinnedFeed>(streamed, emulated_place(), [&](int64_t layer) { taken.push_back(layer); });
    streamed.feed = feed;
    EXPECT_EQ(static_cast<int64_t>(taken.size()), GetParam());
    EXPECT_GE(feed->pinned_bytes(), packed_bytes(resident));
    EXPECT_FALSE(feed->resident(0));
    EXPECT_TRUE(feed->resident(GetParam()));
    expect_same(train(streamed, recompute), expected);
  }
}

TEST_P(PinnedFeedTest, HasALayerThereForWorkThatIsQueuedAfterEntering) {
  // Work is done only when something waits for it: a copy that nobody waits for has not happened.
  emulator::reset({.streams = emulator::Streams::kDeferred});
  const Model resident = test::tiny_model(options_of(GetParam()));
  Model streamed = test::tiny_model(options_of(GetParam()));
  streamed.feed = std::make_shared<PinnedFeed>(streamed, emulated_place());
  const gpu::RuntimeTable& runtime = *test::emulated_module()->runtime;
  for (int64_t l = 0; l < GetParam(); ++l) {
    streamed.feed->enter(l, l + 1);
    runtime.synchronize(nullptr);
    for (int p = 0; p < kProjections; ++p) {
      const auto projection = static_cast<Projection>(p);
      const auto& got = streamed.layers[static_cast<size_t>(l)].projection(projection).weight.packed;
      const auto& all = resident.layers[static_cast<size_t>(l)].projection(projection).weight.packed;
      EXPECT_TRUE(at::equal(got.codes, all.codes)) << l;
      EXPECT_TRUE(at::equal(got.absmax_codes, all.absmax_codes));
      EXPECT_TRUE(at::equal(got.nested_absmax, all.nested_absmax));
    }
  }
}

TEST(PinnedFeed, BringsALayerOnceAPassAndNeverTwiceAtTheTurn) {
  emulator::reset();
  {
    Model model = test::tiny_model(options_of(6));
    model.feed = std::make_shared<PinnedFeed>(model, emulated_place());
    const auto copies = [] {
      int64_t n = 0;
      for (const emulator::LogEntry& entry : emulator::log()) n += entry.kind == emulator::LogEntry::kCopy ? 1 : 0;
      return n;
    };
    const auto pass = [&](bool backward) {
      emulator::clear_log();
      for (int64_t l = 0; l < 6; ++l) model.feed->enter(l, l + 1);
      model.feed->enter(6, backward ? 5 : 0);
      for (int64_t l = 6; backward && l-- > 0;) model.feed->enter(l, std::max<int64_t>(0, l - 1));
      return copies();
    };
    EXPECT_EQ(pass(true), 6 + 4);   // backward finds the last two layers in their slots
    EXPECT_EQ(pass(true), 4 + 4);   // forward the first two
    EXPECT_EQ(pass(false), 4 + 1);  // and layer 0 for the next one
    EXPECT_EQ(pass(false), 5 + 1);
    EXPECT_THROW(model.feed->enter(7, 0), std::logic_error);
  }
  EXPECT_EQ(emulator::leaks(), "");
}

TEST(PinnedFeed, FitsABaseThatIsLargerThanTheDevice) {
  Model probe = test::tiny_model(options_of(9));
  const int64_t base = packed_bytes(probe);
  // Two slots of a layer and what a pass of these tokens needs on the device, arenas included, and not a third of the base more.
  emulator::reset();
  int64_t others = 0;
  {
    Model small = test::tiny_model(options_of(9));
    train(small, Recompute::kLayer);
    others = emulator::memory_use().peak_on_device_bytes;
  }
  const int64_t limit = others + base / 3;
  emulator::reset({.memory_bytes = limit});
  {
    Model streamed = test::tiny_model(options_of(9));
    streamed.feed = std::make_shared<PinnedFeed>(streamed, emulated_place());
    train(streamed, Recompute::kLayer);
    EXPECT_LE(emulator::memory_use().peak_on_device_bytes, limit);
    EXPECT_GE(emulator::memory_use().pinned_bytes, base);
  }
  EXPECT_EQ(emulator::leaks(), "");
}

TEST(PinnedFeed, GivesBackWhatItTookWhenACallFails) {
  for (const char* function : {"cudaMallocHost", "cudaMalloc", "cudaStreamCreateWithFlags", "cudaEventCreateWithFlags"}) {
    emulator::reset();
    Model model = test::tiny_model(options_of(2));
    emulator::fail_call(function, 1, 2);
    EXPECT_ANY_THROW(PinnedFeed(model, emulated_place())) << function;
    EXPECT_EQ(emulator::leaks(), "") << function;
  }
  emulator::reset();
  Model dense = test::tiny_model({});
  EXPECT_THROW(PinnedFeed(dense, emulated_place()), std::logic_error);
  Model model = test::tiny_model(options_of(2));
  EXPECT_THROW(PinnedFeed(model, Place{}), std::logic_error);
}

TEST(HostEmbedding, GathersOnTheHostAndUploads) {
  emulator::reset({.streams = emulator::Streams::kDeferred});
  {
    const Tensor table = test::random_tensor({96, 48}, 3);
    HostEmbedding embedding(emulated_place());
    const gpu::RuntimeTable& runtime = *test::emulated_module()->runtime;
    std::vector<Tensor> outs, expected;
    for (uint64_t i = 0; i < 5; ++i) {
      const test::TinyBatch batch({static_cast<int32_t>(4 + 3 * i)}, 96, i);
      outs.push_back(at::zeros({4 + 3 * static_cast<int64_t>(i), 48}));
      expected.push_back(table.index_select(0, batch.ids_tensor()));
      embedding.gather(table, batch.ids, outs.back());
    }
    runtime.synchronize(nullptr);
    for (size_t i = 0; i < outs.size(); ++i) EXPECT_TRUE(at::equal(outs[i], expected[i])) << i;
    EXPECT_ANY_THROW(embedding.gather(table, std::vector<int32_t>{1, 2}, at::zeros({3, 48})));
    embedding.gather(table, {}, at::zeros({0, 48}));
  }
  EXPECT_EQ(emulator::leaks(), "");
}

// The whole model with its embedding on the host.
TEST(HostEmbedding, TrainsAsWithTheEmbeddingOnTheDevice) {
  emulator::reset();
  {
    Model here = test::tiny_model(options_of(2)), there = test::tiny_model(options_of(2));
    there.embedding_on_host = true;
    expect_same(train(there, Recompute::kNone), train(here, Recompute::kNone));
  }
  EXPECT_EQ(emulator::leaks(), "");
}

}  // namespace
}  // namespace nibble::nn
