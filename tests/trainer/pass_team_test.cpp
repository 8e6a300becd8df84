#include "trainer/pass_team.h"

#include <gtest/gtest.h>

#include "tests/support/tiny_model.h"

namespace nibble::trainer {
namespace {

constexpr int64_t kPositions = 64;

// Passes of different lengths, each of two documents, with their own dropout masks.
std::vector<TeamPass> passes(int64_t count, int64_t vocab) {
  std::vector<TeamPass> all;
  for (int64_t p = 0; p < count; ++p) {
    TeamPass pass;
    pass.dropout = {true, 7, static_cast<uint64_t>(100 + p)};
    pass.batch.document_starts.push_back(0);
    for (const int64_t tokens : {20 + 5 * p, int64_t{13}}) {
      for (int64_t t = 0; t < tokens; ++t) {
        pass.batch.ids.push_back(static_cast<int32_t>((p * 31 + t * 7 + tokens) % vocab));
        pass.batch.labels.push_back(t % 5 == 2 ? -100 : pass.batch.ids.back());
        pass.batch.positions.push_back(static_cast<int32_t>(t));
      }
      pass.batch.document_starts.push_back(static_cast<int32_t>(pass.batch.ids.size()));
    }
    all.push_back(pass);
  }
  return all;
}

nn::Model bf16_model() {
  nn::Model model = test::tiny_model({.dtype = at::kBFloat16, .quantized = true, .hidden = 64, .intermediate = 128, .r = 16});
  model.each_lora([](const std::string&, nn::Lora& lora) { 
    lora.dropout = 0.1f;
    lora.scale = 1.7f;  // not a power of two: its product is rounded
  });
  return model;
}

std::vector<Tensor> gradients(nn::Model& model) {
  std::vector<Tensor> all;
  model.each_lora([&](const std::string&, nn::Lora& lora) { all.insert(all.end(), {lora.da.clone(), lora.db.clone()}); });
  return all;
}

class PassTeamOf : public testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(Members, PassTeamOf, testing::Values(2, 3, 8), testing::PrintToStringParamName());

// Against passes one after the other, over two calls without zeroing in between.
TEST_P(PassTeamOf, GivesTheBitsOfOnePassAfterTheOther) {
  nn::Model alone = bf16_model(), shared = bf16_model();
  nn::Pass one(alone, kPositions), first(shared, kPositions);
  PassTeam team(shared, first, GetParam());
  EXPECT_EQ(team.members(), GetParam());
  nn::PassOptions options;
  options.loss_chunk_tokens = 16;
  nn::LossSum expected;
  for (const int64_t count : {5, 2}) {
    const std::vector<TeamPass> batch = passes(count, alone.config.vocab_size);
    nn::LossSum sum;
    for (const TeamPass& pass : batch) {
      options.dropout = pass.dropout;
      const nn::LossSum part = one.forward_backward(pass.batch.view(), options);
      sum.nll += part.nll;
      sum.tokens += part.tokens;
      expected.nll += part.nll;
      expected.tokens += part.tokens;
    }
    options.dropout = {};
    const nn::LossSum got = team.forward_backward(batch, options);
    EXPECT_EQ(got.tokens, sum.tokens);
    EXPECT_NEAR(got.nll, sum.nll, 1e-12 * sum.nll);  // fp64, round by round
  }
  const nn::LossSum collected = team.collect();
  EXPECT_EQ(collected.nll, expected.nll);
  EXPECT_EQ(collected.tokens, expected.tokens);
  EXPECT_EQ(team.collect().tokens, 0);
  const std::vector<Tensor> a = gradients(alone), b = gradients(shared);
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_GT(a[i].abs().max().item<float>(), 0.0f);
    EXPECT_TRUE(a[i].equal(b[i])) << i;
  }
}

TEST(PassTeam, SharesWeightsAndAdaptersAndReportsTheirMemory) {
  MemoryAccount account;
  nn::Model model = bf16_model();
  nn::Pass first(model, kPositions, {at::kCPU, {}, &account});
  PassTeam team(model, first, 2);
  const auto before = model.layers[0].q.lora->a.clone();
  team.forward_backward(passes(2, model.config.vocab_size), {});
  int64_t kept = 0;
  team.each([&](nn::Pass& pass) { kept += pass.saved_peak_bytes(); });
  EXPECT_GT(kept, first.saved_peak_bytes());
  EXPECT_GE(account.in_use(MemoryPart::kSavedActivations, MemorySide::kHost), kept);
  // An optimizer changes factors in place: every member sees it.
  nn::zero_gradients(model);
  model.layers[0].q.lora->a.mul_(0.5);
  const nn::LossSum changed = team.forward_backward(passes(2, model.config.vocab_size), {});
  model.layers[0].q.lora->a.copy_(before);
  const nn::LossSum again = team.forward_backward(passes(2, model.config.vocab_size), {});
  EXPECT_NE(changed.nll, again.nll);
}

TEST(PassTeam, TellsOneMembersBackwardAndPassesErrorsOn) {
  nn::Model model = bf16_model();
  nn::Pass first(model, kPositions);
  PassTeam team(model, first, 2);
  nn::PassOptions options;
  std::vector<int64_t> reached;
  options.backward_reaches = [&](int64_t layer) { reached.push_back(layer); };
  team.forward_backward(passes(2, model.config.vocab_size), options);
  EXPECT_EQ(reached, (std::vector<int64_t>{1, 0}));

  std::vector<TeamPass> wrong = passes(2, model.config.vocab_size);
  wrong[1].batch.ids[3] = static_cast<int32_t>(model.config.vocab_size);
  EXPECT_THROW(team.forward_backward(wrong, options), std::invalid_argument);
  EXPECT_GT(team.forward_backward(passes(2, model.config.vocab_size), options).nll, 0.0);  // and goes on
}

// Weights that come and go are in one pass at a time.
struct Feed : nn::BaseFeed {
  void enter(int64_t, int64_t) override {}
  bool resident(int64_t) const override { return false; }
};

TEST(PassTeam, IsForWeightsThatStay) {
  nn::Model model = bf16_model();
  model.feed = std::make_shared<Feed>();
  nn::Pass first(model, kPositions);
  EXPECT_THROW(PassTeam(model, first, 2), std::invalid_argument);
  EXPECT_EQ(PassTeam(model, first).members(), 1);
}

}  // namespace
}  // namespace nibble::trainer
