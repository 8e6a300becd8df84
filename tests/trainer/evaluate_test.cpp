// Units: trainer/evaluate trainer/fidelity trainer/generate_text
#include "trainer/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "tests/support/tiny_model.h"
#include "trainer/fidelity.h"
#include "trainer/generate_text.h"

namespace nibble::trainer {
namespace {

std::vector<int32_t> some_ids(int32_t n) { return test::TinyBatch({n}, 96).ids; }

// -sum log p(next) of one window from its logits, in fp64.
double window_nll(nn::Pass& pass, std::span<const int32_t> ids) {
  std::vector<int32_t> positions;
  for (size_t i = 0; i < ids.size(); ++i) positions.push_back(static_cast<int32_t>(i));
  const std::vector<int32_t> starts{0, static_cast<int32_t>(ids.size())};
  const Tensor p = at::log_softmax(pass.forward_logits({ids, {}, positions, starts}).to(at::kDouble), -1);
  double nll = 0.0;
  for (size_t i = 0; i + 1 < ids.size(); ++i) nll -= p[static_cast<int64_t>(i)][ids[i + 1]].item<double>();
  return nll;
}

TEST(ScoreWindows, ScoresEachWindowOnItsOwnWithoutItsFirstToken) {
  nn::Model model = test::tiny_model({});
  nn::Pass pass(model, 64);
  const auto ids = some_ids(37);
  std::vector<std::pair<int64_t, int64_t>> calls;
  const Score score = score_windows(pass, ids, 16, 256, [&](int64_t done, int64_t total) { calls.emplace_back(done, total); });
  EXPECT_EQ(score.tokens, 15 + 15 + 4);
  const std::span<const int32_t> all(ids);
  const double expected = window_nll(pass, all.first(16)) + window_nll(pass, all.subspan(16, 16)) + window_nll(pass, all.subspan(32));
  // (b) 34 terms from logits that are sums over 48 products.
  EXPECT_NEAR(score.nll, expected, std::sqrt(34.0 * 48.0) * std::numeric_limits<float>::epsilon() * expected);
  EXPECT_EQ(calls, (std::vector<std::pair<int64_t, int64_t>>{{16, 37}, {32, 37}, {37, 37}}));
  EXPECT_DOUBLE_EQ(score.perplexity(), std::exp(score.nll / 34.0));
}

TEST(ScoreWindows, SkipsALastWindowOfOneTokenAndHasNoLossForNothing) {
  nn::Model model = test::tiny_model({});
  nn::Pass pass(model, 64);
  EXPECT_EQ(score_windows(pass, some_ids(33), 16, 256).tokens, 30);
  const Score none = score_windows(pass, some_ids(1), 16, 256);
  EXPECT_EQ(none.tokens, 0);
  EXPECT_TRUE(std::isnan(none.loss()));
}

TEST(CompareModels, AModelEqualsItselfAndNotAnother) {
  nn::Model model = test::tiny_model({}), same = test::tiny_model({}), other = test::tiny_model({});
  other.head.dense.mul_(0.5);
  const std::vector<std::vector<int32_t>> windows{some_ids(12), some_ids(20)};
  const Fidelity equal = compare_models(model, same, windows);
  EXPECT_EQ(equal.tokens, 32);
  EXPECT_EQ(equal.kl, 0.0);
  EXPECT_EQ(equal.top1_agreement, 1.0);
  EXPECT_EQ(equal.trained_loss, equal.exported_loss);
  const Fidelity apart = compare_models(model, other, windows);
  EXPECT_GT(apart.kl, 1e-3);
  EXPECT_GE(apart.max_kl, apart.kl);
  // Scaled logits keep their order.
  EXPECT_EQ(apart.top1_agreement, 1.0);
  EXPECT_NE(apart.trained_loss, apart.exported_loss);
}

TEST(GenerateText, FollowsTheLikeliestTokenOfTheWholeText) {
  nn::Model model = test::tiny_model({});
  nn::Pass pass(model, 64);
  auto text = some_ids(6);
  const Generated out = generate_text(model, text, {.max_new_tokens = 5, .temperature = 0.0, .seed = 1, .stop_ids = {}});
  ASSERT_EQ(out.ids.size(), 5u);
  for (const int32_t id : out.ids) {
    std::vector<int32_t> positions;
    for (size_t i = 0; i < text.size(); ++i) positions.push_back(static_cast<int32_t>(i));
    const std::vector<int32_t> starts{0, static_cast<int32_t>(text.size())};
    const Tensor last = pass.forward_logits({text, {}, positions, starts})[static_cast<int64_t>(text.size()) - 1];
    // The cache computes in another order; a token within rounding of the best one is right too.
    EXPECT_GE(last[id].item<float>(), last.max().item<float>() - 1e-4f);
    text.push_back(id);
  }
}

// Guesses change how fast a text comes, not the text: where they are right, where they are wrong, and up to the last token.
TEST(GenerateText, GuessesChangeNoToken) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    test::TinyModelOptions options;
    options.dtype = dtype;
    const nn::Model model = test::tiny_model(options);
    std::vector<int32_t> prompt;
    for (int32_t i = 0; i < 24; ++i) prompt.push_back(7 + i % 6);
    int64_t accepted = 0, drafted = 0;
    for (const double temperature : {0.0, 0.3, 1.0}) {
      for (const int64_t tokens : {1, 2, 9, 40, 120}) {
        GenerateOptions plain{.max_new_tokens = tokens, .temperature = temperature, .seed = 5, .stop_ids = {}, .prompt_lookup_num_tokens = 0};
        const Generated one_by_one = generate_text(model, prompt, plain);
        EXPECT_EQ(one_by_one.drafted, 0);
        for (const int64_t most : {1, 3, 7}) {
          plain.prompt_lookup_num_tokens = most;
          const Generated guessed = generate_text(model, prompt, plain);
          EXPECT_EQ(guessed.ids, one_by_one.ids) << temperature << " " << tokens << " " << most;
          EXPECT_LE(guessed.accepted, guessed.drafted);
          accepted += guessed.accepted;
          drafted += guessed.drafted;
        }
      }
    }
    EXPECT_GT(accepted, 0);        // so that right guesses were tried,
    EXPECT_GT(drafted, accepted);  // and wrong ones
  }
}

TEST(GenerateText, StopsAtAStopTokenAndShowsEachOne) {
  const nn::Model model = test::tiny_model({});
  const auto prompt = some_ids(6);
  const Generated free = generate_text(model, prompt, {.max_new_tokens = 8, .temperature = 1.0, .seed = 3, .stop_ids = {}});
  ASSERT_EQ(free.ids.size(), 8u);
  std::vector<int32_t> shown;
  const Generated stopped = generate_text(model, prompt, {.max_new_tokens = 8, .temperature = 1.0, .seed = 3, .stop_ids = {free.ids[2]}},
                                          [&](int32_t id) { shown.push_back(id); });
  EXPECT_EQ(stopped.ids, shown);
  EXPECT_LE(stopped.ids.size(), 3u);
  EXPECT_EQ(stopped.ids.back(), free.ids[2]);
}

TEST(GenerateText, RefusesAnEmptyOrTooLongPrompt) {
  const nn::Model model = test::tiny_model({});
  EXPECT_THROW(generate_text(model, {}, {}), ConfigError);
  EXPECT_THROW(generate_text(model, some_ids(256), {}), ConfigError);
  EXPECT_EQ(generate_text(model, some_ids(254), {}).ids.size(), 2u);
}

}  // namespace
}  // namespace nibble::trainer
