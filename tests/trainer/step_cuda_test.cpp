// Units: nn/batch_upload, nn/place. A whole training step through the module's kernels, on the emulated device, against the
// CPU's: products and attention are LibTorch's on both sides, everything else is not.
#include <gtest/gtest.h>

#include "nn/decoder.h"
#include "nn/lora.h"
#include "nn/model.h"
#include "optim/optimizer.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/model_on_device.h"
#include "trainer/training_model.h"

namespace nibble::nn {
namespace {

struct Case {
  const char* name;
  test::TinyModelOptions options;
  float dropout;
  Recompute recompute;
};

test::TinyModelOptions options_of(at::ScalarType dtype, bool quantized, bool qk_norm, bool bias, int64_t window) {
  test::TinyModelOptions o;
  o.dtype = dtype;
  o.quantized = quantized;
  o.qk_norm = qk_norm;
  o.bias = bias;
  o.window = window;
  return o;
}

class StepOnDevice : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override { emulator::reset(); }
  void TearDown() override { EXPECT_EQ(emulator::leaks(), ""); }
};
INSTANTIATE_TEST_SUITE_P(
    Models, StepOnDevice,
    testing::Values(Case{"plain_fp32", options_of(at::kFloat, false, false, false, 0), 0.0f, Recompute::kNone},
                    Case{"nf4_fp32", options_of(at::kFloat, true, false, true, 0), 0.0f, Recompute::kMlp},
                    Case{"nf4_bf16", options_of(at::kBFloat16, true, false, false, 0), 0.0f, Recompute::kNone},
                    Case{"qk_norm_window_dropout", options_of(at::kFloat, true, true, false, 7), 0.2f, Recompute::kLayer}),
    [](const auto& info) { return std::string(info.param.name); });

struct Outcome {
  LossSum loss;
  double grad_norm;
};

// Two micro-batches and an update, three times.
std::vector<Outcome> train(Model& model, const Case& c, const Place& place) {
  Pass pass(model, 64, place);
  optim::OptimizerConfig config;
  config.weight_decay = 0.01;
  optim::Optimizer optimizer(config, trainer::parameters(model), nullptr, place.queue);
  std::vector<Outcome> outcomes;
  uint64_t micro_step = 0;
  for (int step = 0; step < 3; ++step) {
    zero_gradients(model);
    int64_t tokens = 0;
    for (int m = 0; m < 2; ++m) {
      const test::TinyBatch batch({9, 1, 14}, c.options.vocab, static_cast<uint64_t>(2 * step + m));
      PassOptions options;
      options.recompute.assign(model.layers.size(), {c.recompute});
      options.loss_chunk_tokens = 8;
      options.dropout = {true, 5, micro_step++};
      tokens += pass.forward_backward(batch.view(), options).tokens;
    }
    optimizer.step(1e-2, tokens, 1.0);
    outcomes.push_back({pass.collect(), optimizer.outcome().grad_norm});
    EXPECT_EQ(outcomes.back().loss.tokens, tokens);
  }
  return outcomes;
}

TEST_P(StepOnDevice, TrainsAsTheCpuDoes) {
  const Case& c = GetParam();
  Model here = test::tiny_model(c.options), there = test::tiny_model(c.options);
  for (Model* model : {&here, &there}) {
    model->each_lora([&](const std::string&, Lora& lora) { lora.dropout = c.dropout; });
  }
  test::move_to_device(there);
  const std::vector<Outcome> expected = train(here, c, {}), got = train(there, c, {at::kCPU, {test::emulated_module(), nullptr}});
  // Kernels add up rows in another order than the CPU's loops. fp32: a few units in the last place of sums over the width,
  // carried through three updates; bf16: policy (c), roundings that turn here and there.
  const bool fp32 = c.options.dtype == at::kFloat;
  const double loss_error = fp32 ? 1e-5 : 2e-3, norm_error = fp32 ? 1e-4 : 2e-2, weight_error = fp32 ? 1e-4 : 2e-2;
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(got[i].loss.nll, expected[i].loss.nll, loss_error * expected[i].loss.nll) << "step " << i + 1;
    EXPECT_NEAR(got[i].grad_norm, expected[i].grad_norm, norm_error * expected[i].grad_norm) << "step " << i + 1;
  }
  EXPECT_LT(expected[2].loss.nll / static_cast<double>(expected[2].loss.tokens),
            expected[0].loss.nll / static_cast<double>(expected[0].loss.tokens) + 1.0);
  std::vector<Tensor> weights;
  here.each_lora([&](const std::string&, Lora& lora) { weights.insert(weights.end(), {lora.a.to(at::kFloat), lora.b.to(at::kFloat)}); });
  size_t i = 0;
  there.each_lora([&](const std::string& path, Lora& lora) {
    for (const Tensor& t : {lora.a, lora.b}) {
      const Tensor& other = weights.at(i++);
      EXPECT_LE((t.to(at::kFloat) - other).norm().item<double>(), weight_error * other.norm().item<double>()) << path;
    }
  });
  EXPECT_EQ(i, weights.size());
}

// In six passes: each decodes as many weights as the first, and all but its first one on the second stream.
TEST_P(StepOnDevice, DecodesWeightsAhead) {
  const Case& c = GetParam();
  Model model = test::tiny_model(c.options);
  test::move_to_device(model);
  Place device;
  device.queue = {test::emulated_module(), nullptr};
  train(model, c, device);
  constexpr int64_t kPasses = 6;
  int64_t main = 0, second = 0;
  for (const emulator::LogEntry& e : emulator::log()) {
    if (e.kind != emulator::LogEntry::kLaunch || e.name.rfind("dequantize", 0) != 0) continue;
    ++(e.stream == 0 ? main : second);
  }
  const int64_t each = (main + second) / kPasses;
  EXPECT_EQ(each > 0, c.options.quantized);
  EXPECT_EQ((main + second) % kPasses, 0);
  EXPECT_EQ(main, c.options.quantized ? each + kPasses - 1 : 0);
}

// A prompt at once and then token by token, attention on the CPU and all else by kernels.
TEST_P(StepOnDevice, DecodesTextAsTheCpuDoes) {
  const Case& c = GetParam();
  Model here = test::tiny_model(c.options), there = test::tiny_model(c.options);
  test::move_to_device(there);
  const test::TinyBatch batch({12}, c.options.vocab);
  const std::span<const int32_t> ids(batch.ids);
  Place device;
  device.queue = {test::emulated_module(), nullptr};
  Decoder expected(here, 12), got(there, 12, device);
  for (const auto& part : {ids.first(9), ids.subspan(9, 1), ids.subspan(10, 2)}) {
    const Tensor logits = expected.feed(part);
    // As above: sums over the width in another order, through two layers.
    const double bound = (c.options.dtype == at::kFloat ? 1e-5 : 2e-2) * logits.norm().item<double>();
    EXPECT_LE((got.feed(part) - logits).norm().item<double>(), bound);
  }
}

}  // namespace
}  // namespace nibble::nn
