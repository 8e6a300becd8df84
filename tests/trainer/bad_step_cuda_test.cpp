// Units: trainer/train_step, trainer/step_diagnosis, trainer/tensor_stats. Steps that go wrong on the emulated device: refused before
// the update, looked at, and gone on from.
#include <gtest/gtest.h>

#include "tests/trainer/model_on_device.h"
#include "tests/trainer/step_bench.h"
#include "trainer/step_diagnosis.h"

namespace nibble::trainer {
namespace {

class BadStepOnDevice : public testing::Test {
 protected:
  void SetUp() override { emulator::reset(); }
  void TearDown() override { EXPECT_EQ(emulator::leaks(), ""); }
  static nn::Model model() {
    nn::Model model = test::tiny_model({});
    test::move_to_device(model);
    return model;
  }
  static nn::Place place() { return {at::kCPU, {test::emulated_module(), nullptr}}; }
};

TEST_F(BadStepOnDevice, ALossIsKnownBeforeTheUpdate) {
  test::StepBench bench(1, 1, model(), place());
  const Tensor before = bench.optimizer.params()[1].param.clone(), norm = bench.model.final_norm.clone();
  bench.model.final_norm.fill_(std::numeric_limits<float>::infinity());
  EXPECT_EQ(train_step(bench.parts(), bench.options, {}, 1e-2)->fault, StepFault::kLoss);
  EXPECT_TRUE(at::equal(bench.optimizer.params()[1].param, before));
  EXPECT_EQ(bench.optimizer.steps(), 0);
  const StepDiagnosis diagnosis = diagnose_step(bench.parts(), bench.options, {});
  EXPECT_EQ(diagnosis.first_wrong->name, "norm");
  bench.model.final_norm.copy_(norm);
  EXPECT_TRUE(train_step(bench.parts(), bench.options, {}, 1e-2)->updated());
  EXPECT_FALSE(at::equal(bench.optimizer.params()[1].param, before));
}

TEST_F(BadStepOnDevice, ARefusedGradientIsGoneOnFrom) {
  test::StepBench bench(1, 1, model(), place());
  test::break_gradient(bench.model);
  EXPECT_EQ(train_step(bench.parts(), bench.options, {}, 1e-2)->fault, StepFault::kGradient);
  EXPECT_EQ(diagnose_step(bench.parts(), bench.options, {}).first_wrong->what, "gradient");
  bench.model.each_lora([](const std::string&, nn::Lora& lora) { lora.b.zero_(); });
  for (int step = 0; step < 2; ++step) EXPECT_TRUE(train_step(bench.parts(), bench.options, {}, 1e-2)->updated());
  EXPECT_EQ(bench.optimizer.steps(), 2);
}

TEST_F(BadStepOnDevice, IsDiagnosedWithTheDropoutThatItHad) {
  test::StepBench bench(2, 2, model(), place());
  bench.options.seed = 9;
  bench.model.each_lora([](const std::string&, nn::Lora& lora) { lora.dropout = 0.3f; });
  RunState state;
  state.micro_step = 4;
  const auto report = train_step(bench.parts(), bench.options, state, 1e-2, [](const StepReport&) { return false; });
  bench.batches.seek({0, 0});
  EXPECT_EQ(diagnose_step(bench.parts(), bench.options, state).loss(), report->loss());
  state.micro_step = 5;
  EXPECT_NE(diagnose_step(bench.parts(), bench.options, state).loss(), report->loss());
}

}  // namespace
}  // namespace nibble::trainer
