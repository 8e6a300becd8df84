// Units: nn/layer. The MLP in chunks of tokens: the same mathematics, temporaries that stop growing.
#include "nn/layer.h"

#include <gtest/gtest.h>

#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

struct Outcome {
  double nll = 0.0;
  std::vector<Tensor> gradients;
  int64_t scratch_bytes = 0;
};

Outcome run(const test::TinyModelOptions& options, Recompute recompute, int64_t chunk, float dropout, int32_t tokens = 50) {
  Model model = test::tiny_model(options);
  model.each_lora([&](const std::string&, Lora& lora) { lora.dropout = dropout; });
  Pass pass(model, 256);
  pass.set_mlp_chunk_tokens(chunk);
  PassOptions pass_options;
  pass_options.recompute.assign(model.layers.size(), {recompute});
  pass_options.loss_chunk_tokens = 4;
  pass_options.dropout = {true, 5, 3};
  const test::TinyBatch batch({tokens - 9, 9}, options.vocab, 1);
  Outcome outcome{pass.forward_backward(batch.view(), pass_options).nll, {}, pass.scratch_peak_bytes()};
  model.each_lora([&](const std::string&, Lora& lora) { outcome.gradients.insert(outcome.gradients.end(), {lora.da, lora.db}); });
  return outcome;
}

double difference(const Tensor& a, const Tensor& b) { return (a - b).norm().item<double>() / std::max(1e-30, b.norm().item<double>()); }

TEST(MlpInChunks, HasTheNumbersOfTheWhole) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    test::TinyModelOptions options;
    options.dtype = dtype;
    options.quantized = true;
    const Outcome whole = run(options, Recompute::kNone, 0, 0.0f);
    for (const int64_t chunk : {7, 16, 49}) {
      const Outcome cut = run(options, Recompute::kNone, chunk, 0.0f);
      // fp32, (b): sums over 50 tokens and over up to 80 features in another order, through two layers. bf16, (c): a partial
      // sum of each chunk is rounded once more, an error of half a unit in the last place each.
      const double bound = dtype == at::kFloat ? 50 * 80 * static_cast<double>(std::numeric_limits<float>::epsilon()) : 2 * 0.0078125;
      EXPECT_NEAR(cut.nll, whole.nll, bound * whole.nll);
      for (size_t i = 0; i < whole.gradients.size(); ++i) EXPECT_LE(difference(cut.gradients[i], whole.gradients[i]), bound) << i;
    }
  }
}

TEST(MlpInChunks, DoesNotDependOnWhatIsRecomputed) {
  for (const float dropout : {0.0f, 0.3f}) {
    const Outcome kept = run({}, Recompute::kNone, 16, dropout);
    for (const Recompute level : {Recompute::kElementwise, Recompute::kMlp, Recompute::kLayer, Recompute::kOffload}) {
      const Outcome rebuilt = run({}, level, 16, dropout);
      EXPECT_EQ(rebuilt.nll, kept.nll);
      for (size_t i = 0; i < kept.gradients.size(); ++i) EXPECT_TRUE(at::equal(rebuilt.gradients[i], kept.gradients[i])) << i;
    }
  }
}

TEST(MlpInChunks, AChunkOfAllTokensIsTheWhole) {
  const Outcome whole = run({}, Recompute::kMlp, 0, 0.3f), one = run({}, Recompute::kMlp, 50, 0.3f);
  EXPECT_EQ(one.nll, whole.nll);
  for (size_t i = 0; i < whole.gradients.size(); ++i) EXPECT_TRUE(at::equal(one.gradients[i], whole.gradients[i])) << i;
}

// Of a model with a wide MLP: what a longer row adds is what the rest of the layer needs, not the MLP.
TEST(MlpInChunks, TemporariesDoNotGrowWithTheRow) {
  test::TinyModelOptions options;
  options.intermediate = 4096;
  options.layers = 1;
  const auto growth = [&](int64_t chunk) {
    return run(options, Recompute::kLayer, chunk, 0.0f, 200).scratch_bytes - run(options, Recompute::kLayer, chunk, 0.0f, 100).scratch_bytes;
  };
  const int64_t mlp = 100 * 4096 * 4;                 // one tensor [T, F] of 100 tokens more
  EXPECT_GE(growth(0), 3 * mlp);                      // gate, up and the gradient of their product
  EXPECT_LT(growth(32), mlp);
}

}  // namespace
}  // namespace nibble::nn
