// The whole hand-written step against autograd, finite differences, and itself under switches that must not matter.
#include "nn/model.h"

#include <gtest/gtest.h>

#include "nn/decoder.h"
#include "nn/layer.h"
#include "nn/loss.h"
#include "tests/support/reference_model.h"
#include "tests/support/tiny_model.h"

namespace nibble::nn {
namespace {

using test::ReferenceModel;
using test::TinyBatch;
using test::TinyModelOptions;

struct Case {
  const char* name;
  TinyModelOptions options;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<Case> cases() {
  TinyModelOptions qk, bias, window, quantized, wide;
  qk.qk_norm = true;
  bias.bias = true;
  window.window = 5;
  quantized.quantized = true;
  wide.heads = 6;
  wide.kv_heads = 1;
  wide.head_dim = 8;
  wide.layers = 3;
  return {{"plain", {}}, {"qk_norm", qk}, {"bias", bias}, {"window", window}, {"quantized", quantized}, {"one_kv_head", wide}};
}

class EveryShape : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Model, EveryShape, testing::ValuesIn(cases()), [](const auto& info) { return info.param.name; });

double relative_error(const Tensor& got, const Tensor& expected) {
  const Tensor e = expected.to(at::kDouble);
  return ((got.to(at::kDouble) - e).norm() / e.norm().clamp_min(1e-30)).item<double>();
}

struct Gradients {
  LossSum loss;
  std::vector<Tensor> values;
};

Gradients gradients(Model& model, const TinyBatch& batch, const PassOptions& options) {
  zero_gradients(model);
  Pass pass(model, 256);
  Gradients g;
  g.loss = pass.forward_backward(batch.view(), options);
  model.each_lora([&](const std::string&, Lora& lora) {
    g.values.push_back(lora.da.clone());
    g.values.push_back(lora.db.clone());
  });
  return g;
}

TEST_P(EveryShape, GradientsEqualAutogradInDouble) {
  Model model = test::tiny_model(GetParam().options);
  const TinyBatch batch({13, 1, 22}, model.config.vocab_size);
  const Gradients got = gradients(model, batch, {});

  const test::Factors factors = test::leaf_factors(model, at::kDouble);
  const ReferenceModel reference(model, factors, at::kDouble);
  const Tensor logits = reference.logits(batch.ids_tensor(), batch.positions_tensor(), batch.starts);
  const LabelledRows labelled = labelled_rows(batch.labels, batch.starts);
  const Tensor rows = at::tensor(labelled.rows);
  const Tensor targets = at::tensor(std::vector<int64_t>(labelled.targets.begin(), labelled.targets.end()));
  const Tensor loss = -at::log_softmax(logits.index_select(0, rows), -1).gather(1, targets.unsqueeze(1)).sum();
  loss.backward();

  ASSERT_EQ(got.loss.tokens, rows.size(0));
  // Policy (b): fp32 sums of a few hundred terms through 2-3 layers; 2^-24 * 100 covers their accumulated rounding.
  constexpr double kBound = 6e-6;
  EXPECT_NEAR(got.loss.nll, loss.item<double>(), kBound * loss.item<double>());
  size_t i = 0;
  model.each_lora([&](const std::string& path, Lora&) {
    EXPECT_LT(relative_error(got.values[i++], factors.at(path + ".A").grad()), kBound) << path << " A";
    EXPECT_LT(relative_error(got.values[i++], factors.at(path + ".B").grad()), kBound) << path << " B";
  });
}

TEST_P(EveryShape, GradientsEqualFiniteDifferences) {
  Model model = test::tiny_model(GetParam().options);
  const TinyBatch batch({9, 12}, model.config.vocab_size);
  const Gradients got = gradients(model, batch, {});
  Pass pass(model, 256);
  size_t i = 0;
  std::vector<Tensor> factors;
  model.each_lora([&](const std::string&, Lora& lora) {
    factors.push_back(lora.a);
    factors.push_back(lora.b);
  });
  for (const Tensor& factor : factors) {
    const Tensor gradient = got.values[i];
    const Tensor direction = gradient / gradient.norm();  // the steepest one stands out of the rounding noise
    const Tensor before = factor.clone();
    constexpr double kStep = 2e-2;
    factor.copy_(before + kStep * direction);
    const double up = pass.forward_loss(batch.view(), {}).nll;
    factor.copy_(before - kStep * direction);
    const double down = pass.forward_loss(batch.view(), {}).nll;
    factor.copy_(before);
    const double slope = (up - down) / (2 * kStep), expected = gradient.norm().item<double>();
    // The third derivative gives kStep^2 relative, fp32 rounding of the loss about 1e-5 / kStep absolute.
    EXPECT_NEAR(slope, expected, 0.02 * expected + 1e-3) << "factor " << i;
    ++i;
  }
}

TEST_P(EveryShape, RecomputeChangesNoBit) {
  for (at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    TinyModelOptions options = GetParam().options;
    options.dtype = dtype;
    Model model = test::tiny_model(options);
    model.each_lora([](const std::string&, Lora& lora) { lora.dropout = 0.25f; });
    const TinyBatch batch({17, 30}, model.config.vocab_size);
    PassOptions pass;
    pass.dropout = {true, 5, 11};
    const Gradients kept = gradients(model, batch, pass);
    for (Recompute level : {Recompute::kElementwise, Recompute::kMlp, Recompute::kLayer}) {
      pass.recompute.assign(model.layers.size(), RecomputePolicy{level});
      pass.recompute[0] = RecomputePolicy{};  // policies may differ from layer to layer
      const Gradients rebuilt = gradients(model, batch, pass);
      EXPECT_EQ(kept.loss.nll, rebuilt.loss.nll);
      for (size_t i = 0; i < kept.values.size(); ++i) EXPECT_TRUE(at::equal(kept.values[i], rebuilt.values[i])) << i;
    }
  }
}

TEST(Pass, LossChunksOnlyChangeTheOrderOfTheSum) {
  Model model = test::tiny_model({});
  const TinyBatch batch({40, 25}, model.config.vocab_size);
  PassOptions one, many;
  one.loss_chunk_tokens = 1000;
  many.loss_chunk_tokens = 7;
  const Gradients a = gradients(model, batch, one), b = gradients(model, batch, many);
  EXPECT_NEAR(a.loss.nll, b.loss.nll, 1e-6 * a.loss.nll);
  for (size_t i = 0; i < a.values.size(); ++i) EXPECT_LT(relative_error(a.values[i], b.values[i]), 6e-6);
}

TEST(Pass, PackedDocumentsGiveTheSameAsApart) {
  Model model = test::tiny_model({});
  const TinyBatch both({21, 34}, model.config.vocab_size);
  const Gradients packed = gradients(model, both, {});
  zero_gradients(model);
  Pass pass(model, 256);
  double nll = 0;
  for (size_t d = 0; d < 2; ++d) {
    const auto begin = static_cast<size_t>(both.starts[d]), n = static_cast<size_t>(both.starts[d + 1]) - begin;
    const std::vector<int32_t> starts{0, static_cast<int32_t>(n)};
    const std::span<const int32_t> ids(both.ids), labels(both.labels), positions(both.positions);
    nll += pass.forward_backward({ids.subspan(begin, n), labels.subspan(begin, n), positions.subspan(begin, n), starts}, {}).nll;
  }
  EXPECT_NEAR(packed.loss.nll, nll, 1e-6 * nll);
  size_t i = 0;
  model.each_lora([&](const std::string& path, Lora& lora) {
    EXPECT_LT(relative_error(lora.da, packed.values[i++]), 6e-6) << path;
    EXPECT_LT(relative_error(lora.db, packed.values[i++]), 6e-6) << path;
  });
}

TEST(Pass, Bfloat16IsNoWorseThanTwiceTheComposition) {
  TinyModelOptions options;
  options.dtype = at::kBFloat16;
  Model model = test::tiny_model(options);
  const TinyBatch batch({31, 33}, model.config.vocab_size);
  const test::Factors exact = test::leaf_factors(model, at::kDouble), rounded = test::leaf_factors(model, at::kBFloat16);
  const auto reference = ReferenceModel(model, exact, at::kDouble).logits(batch.ids_tensor(), batch.positions_tensor(), batch.starts);
  const auto plain = ReferenceModel(model, rounded, at::kBFloat16).logits(batch.ids_tensor(), batch.positions_tensor(), batch.starts);
  Pass pass(model, 256);
  // Policy (c).
  EXPECT_LT(relative_error(pass.forward_logits(batch.view()), reference), 2 * relative_error(plain, reference));
}

TEST_P(EveryShape, TheLossAloneIsThatOfTheWholePassWithItsDropout) {
  Model model = test::tiny_model(GetParam().options);
  model.each_lora([](const std::string&, Lora& lora) { lora.dropout = 0.3f; });
  const TinyBatch batch({13, 1, 22}, model.config.vocab_size);
  PassOptions options;
  options.dropout = {true, 5, 17};
  const LossSum whole = gradients(model, batch, options).loss;
  Pass pass(model, 256);
  EXPECT_EQ(pass.forward_loss(batch.view(), options).nll, whole.nll);
  EXPECT_NE(pass.forward_loss(batch.view(), {}).nll, whole.nll);
}

TEST(Pass, ShowsEveryLayersOutputOnItsWayToTheLoss) {
  Model model = test::tiny_model({});
  Pass pass(model, 64);
  const TinyBatch batch({9, 4}, model.config.vocab_size);
  std::vector<std::pair<int64_t, Tensor>> shown;
  PassOptions options;
  options.layer_output = [&](int64_t layer, const Tensor& hidden) { shown.emplace_back(layer, hidden.clone()); };
  pass.forward_loss(batch.view(), options);
  const std::vector<Tensor> states = pass.forward_hidden_states(batch.view());
  ASSERT_EQ(shown.size(), states.size());
  for (size_t i = 0; i < states.size(); ++i) {
    EXPECT_EQ(shown[i].first, static_cast<int64_t>(i) - 1);
    EXPECT_TRUE(at::equal(shown[i].second, states[i])) << i;
  }
}

TEST(Pass, RefusesIdsAndPositionsOutsideTheModel) {
  Model model = test::tiny_model({});
  Pass pass(model, 16);
  TinyBatch batch({8}, model.config.vocab_size);
  batch.ids[3] = static_cast<int32_t>(model.config.vocab_size);
  EXPECT_THROW(pass.forward_loss(batch.view(), {}), std::invalid_argument);
  TinyBatch longer({17}, model.config.vocab_size);
  EXPECT_THROW(pass.forward_loss(longer.view(), {}), std::invalid_argument);
}

TEST(Decoder, StepByStepEqualsOneForwardPass) {
  for (bool windowed : {false, true}) {
    TinyModelOptions options;
    options.window = windowed ? 6 : 0;
    options.qk_norm = windowed;
    Model model = test::tiny_model(options);
    const TinyBatch batch({24}, model.config.vocab_size);
    const Tensor expected = Pass(model, 64).forward_logits(batch.view());
    Decoder decoder(model, 24);
    const std::span<const int32_t> ids(batch.ids);
    Tensor logits = decoder.feed(ids.first(9));
    for (size_t i = 9; i <= 24; ++i) {
      EXPECT_LT(relative_error(logits, expected[static_cast<int64_t>(i) - 1]), 6e-6) << i;
      if (i < 24) logits = decoder.feed(ids.subspan(i, 1));
    }
    EXPECT_THROW(decoder.feed(ids.first(1)), std::invalid_argument);
  }
}

TEST(ChooseToken, IsGreedyAtZeroAndFollowsTheDistributionElse) {
  const std::vector<float> logits{0.0f, 2.0f, 1.0f, -1e30f};
  EXPECT_EQ(choose_token(logits, 0.0, 1, 0), 1);
  std::vector<int64_t> counts(4);
  constexpr int kDraws = 4000;
  for (uint64_t i = 0; i < kDraws; ++i) ++counts[static_cast<size_t>(choose_token(logits, 1.0, 1, i))];
  const Tensor p = at::softmax(at::tensor(logits), 0);
  for (int64_t t = 0; t < 4; ++t) {
    const double expected = p[t].item<double>() * kDraws;
    EXPECT_NEAR(static_cast<double>(counts[static_cast<size_t>(t)]), expected, 5 * std::sqrt(expected) + 1e-9) << t;  // 5 sigma
  }
}

}  // namespace
}  // namespace nibble::nn
