// Unit: trainer/step_diagnosis. Where a step goes wrong is found, and looking changes nothing.
#include "trainer/step_diagnosis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/step_bench.h"

namespace nibble::trainer {
namespace {

using testing::HasSubstr;
using test::StepBench;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

StepReport make(StepBench& bench) {
  return *train_step(bench.parts(), bench.options, {}, 1e-2, [](const StepReport&) { return false; });
}

TEST(DiagnoseStep, ComputesWhatTheStepComputedAndChangesNothing) {
  for (const float dropout : {0.0f, 0.3f}) {
    StepBench bench(2, 2);
    bench.options.seed = 5;
    bench.model.each_lora([&](const std::string&, nn::Lora& lora) { lora.dropout = dropout; });
    const StepReport report = make(bench);
    const data::Cursor after = bench.batches.cursor();
    std::vector<Tensor> gradients;
    for (const optim::ParamRef& p : bench.optimizer.params()) gradients.push_back(p.grad.clone());
    const StepDiagnosis diagnosis = diagnose_step(bench.parts(), bench.options, {});
    EXPECT_EQ(diagnosis.loss(), report.loss());  // (f) the same passes, bit for bit
    EXPECT_FALSE(diagnosis.first_wrong);
    EXPECT_EQ(diagnosis.step.documents, (std::vector<int64_t>{0, 1, 2, 3}));
    EXPECT_EQ(diagnosis.passes.size(), diagnosis.step.passes.size());
    EXPECT_EQ(bench.batches.cursor(), after);
    for (size_t i = 0; i < gradients.size(); ++i) EXPECT_TRUE(at::equal(bench.optimizer.params()[i].grad, gradients[i]));
    // And the optimizer's own norm of them.
    bench.optimizer.step(0.0, report.trained_tokens, 0.0);
    // (b) fp64 sums of some thousand squares in another order.
    EXPECT_NEAR(diagnosis.grad_norm(), bench.optimizer.outcome().grad_norm, 1e-12 * diagnosis.grad_norm());
  }
}

TEST(DiagnoseStep, MeasuresEveryLayer) {
  StepBench bench(1, 1);
  make(bench);
  const StepDiagnosis diagnosis = diagnose_step(bench.parts(), bench.options, {});
  ASSERT_EQ(diagnosis.hidden.size(), 4u);
  const char* names[] = {"embedding", "layers.0", "layers.1", "norm"};
  const std::vector<Tensor> states = bench.pass.forward_hidden_states(diagnosis.step.passes[0].batch.view());
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(diagnosis.hidden[i].name, names[i]);
    const double rms = std::sqrt(states[i].to(at::kDouble).square().mean().item<double>());
    EXPECT_NEAR(diagnosis.hidden[i].stats.rms(), rms, 1e-12 * rms);  // (b) as above
  }
  EXPECT_EQ(diagnosis.gradients.size(), bench.optimizer.params().size());
  EXPECT_EQ(diagnosis.adapter[0].name, bench.optimizer.params()[0].name);
}

// The embedding of one token of the second document.
TEST(DiagnoseStep, FindsTheTokenThatBringsIt) {
  StepBench bench(2, 2);
  // One that no other document has.
  const auto is_elsewhere = [&](int32_t id) {
    int64_t count = 0;
    for (const int64_t other : {0, 2, 3}) count += std::count(bench.dataset.ids(other).begin(), bench.dataset.ids(other).end(), id);
    return count > 0;
  };
  const auto own = std::find_if_not(bench.dataset.ids(1).begin(), bench.dataset.ids(1).end(), is_elsewhere);
  ASSERT_NE(own, bench.dataset.ids(1).end());
  const int32_t id = *own;
  bench.model.embedding[id][7].fill_(kNan);
  EXPECT_EQ(make(bench).fault, StepFault::kLoss);
  const StepDiagnosis diagnosis = diagnose_step(bench.parts(), bench.options, {});
  ASSERT_TRUE(diagnosis.first_wrong);
  EXPECT_EQ(diagnosis.first_wrong->what, "hidden states");
  EXPECT_EQ(diagnosis.first_wrong->name, "embedding");
  EXPECT_EQ(diagnosis.first_wrong->pass, 1);
  EXPECT_EQ(diagnosis.first_wrong->document, 1);
  EXPECT_EQ(diagnosis.first_wrong->token, own - bench.dataset.ids(1).begin());
  EXPECT_THAT(first_wrong_text(*diagnosis.first_wrong), HasSubstr("hidden states of embedding, pass 1, document 2, token"));
  EXPECT_TRUE(std::isnan(diagnosis.grad_norm()));
  EXPECT_TRUE(std::isfinite(diagnosis.passes[1].nll));  // the other micro-batch is well
}

TEST(DiagnoseStep, NamesTheLayerThatBreaks) {
  StepBench bench(1, 1);
  bench.model.layers[1].down.weight.dense[3][3].fill_(kNan);
  make(bench);
  const StepDiagnosis diagnosis = diagnose_step(bench.parts(), bench.options, {});
  EXPECT_EQ(diagnosis.first_wrong->name, "layers.1");
  EXPECT_EQ(diagnosis.hidden[1].stats.non_finite, 0);
  EXPECT_GT(diagnosis.hidden[2].stats.non_finite, 0);
}

TEST(DiagnoseStep, NamesALossAGradientAndAnAdapter) {
  StepBench head(1, 1), gradient(1, 1), adapter(1, 1);
  head.model.head.dense[5][5].fill_(kNan);
  make(head);
  EXPECT_EQ(diagnose_step(head.parts(), head.options, {}).first_wrong->what, "loss");
  test::break_gradient(gradient.model);
  EXPECT_EQ(train_step(gradient.parts(), gradient.options, {}, 1e-2)->fault, StepFault::kGradient);
  const StepDiagnosis found = diagnose_step(gradient.parts(), gradient.options, {});
  EXPECT_EQ(found.first_wrong->what, "gradient");
  EXPECT_EQ(found.first_wrong->name, gradient.optimizer.params().end()[-2].name);  // where it begins on the way back
  adapter.optimizer.params()[2].param.fill_(kNan);
  make(adapter);
  const StepDiagnosis broken = diagnose_step(adapter.parts(), adapter.options, {});
  EXPECT_EQ(broken.first_wrong->what, "adapter");
  EXPECT_EQ(first_wrong_text(*broken.first_wrong), "not finite first in the adapter of " + adapter.optimizer.params()[2].name);
}

}  // namespace
}  // namespace nibble::trainer
