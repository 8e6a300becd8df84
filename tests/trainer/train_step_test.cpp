// Units: trainer/train_step trainer/train_loop
#include "trainer/train_step.h"

#include <gtest/gtest.h>

#include <csignal>
#include <sstream>

#include "core/error.h"
#include "tests/trainer/step_bench.h"
#include "trainer/train_loop.h"

namespace nibble::trainer {
namespace {

using Bench = test::StepBench;

TEST(StepsPerEpoch, RoundsUp) {
  EXPECT_EQ(steps_per_epoch(8, 4), 2);
  EXPECT_EQ(steps_per_epoch(9, 4), 3);
  EXPECT_EQ(steps_per_epoch(1, 4), 1);
}

TEST(TrainStep, DoesNotDependOnHowItIsCutIntoMicroBatches) {
  Bench whole(4, 1), cut(1, 4);
  const auto a = train_step(whole.parts(), whole.options, {}, 0.0), b = train_step(cut.parts(), cut.options, {}, 0.0);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->micro_batches, 1);
  EXPECT_EQ(b->micro_batches, 4);
  EXPECT_EQ(a->tokens, 53);
  EXPECT_EQ(a->tokens, b->tokens);
  EXPECT_EQ(a->trained_tokens, b->trained_tokens);
  // (b) sums over 53 tokens through sums over at most 96 products, in another order: sqrt(n) rounding errors of fp32.
  const double bound = std::sqrt(53.0 * 96.0) * std::numeric_limits<float>::epsilon();
  EXPECT_NEAR(a->nll, b->nll, bound * a->nll);
  EXPECT_NEAR(a->grad_norm, b->grad_norm, bound * a->grad_norm);
  for (size_t i = 0; i < whole.optimizer.params().size(); ++i) {
    const Tensor x = whole.optimizer.params()[i].grad, y = cut.optimizer.params()[i].grad;
    EXPECT_LE((x - y).norm().item<double>(), bound * x.norm().item<double>()) << whole.optimizer.params()[i].name;
  }
}

TEST(TrainStep, TakesWhatIsLeftAtTheEndOfAnEpoch) {
  Bench bench(1, 3);
  EXPECT_EQ(train_step(bench.parts(), bench.options, {}, 0.0)->micro_batches, 3);
  EXPECT_EQ(train_step(bench.parts(), bench.options, {}, 0.0)->micro_batches, 1);
  EXPECT_EQ(bench.batches.batches_left_in_epoch(), 4);
}

TEST(TrainStep, StoppedLeavesEverythingWhereItWas) {
  Bench bench(1, 2);
  const Tensor before = bench.optimizer.params()[0].param.clone();
  std::raise(SIGTERM);
  EXPECT_FALSE(train_step(bench.parts(), bench.options, {}, 1e-2));
  EXPECT_EQ(bench.batches.cursor(), (data::Cursor{0, 0}));
  EXPECT_TRUE(at::equal(bench.optimizer.params()[0].param, before));
  EXPECT_EQ(bench.optimizer.steps(), 0);
}

// What a step that is not made leaves: everything, and an optimizer that takes the next one.
void expect_untouched(Bench& bench, const Tensor& before) {
  EXPECT_TRUE(at::equal(bench.optimizer.params()[0].param, before));
  EXPECT_EQ(bench.optimizer.steps(), 0);
  EXPECT_TRUE(bench.optimizer.outcome().finite());
}

TEST(TrainStep, ALossThatIsNotFiniteUpdatesNothing) {
  Bench bench(1, 1);
  const Tensor before = bench.optimizer.params()[0].param.clone(), norm = bench.model.final_norm.clone();
  bench.model.final_norm.fill_(std::numeric_limits<float>::infinity());
  const auto report = train_step(bench.parts(), bench.options, {}, 1e-2);
  EXPECT_EQ(report->fault, StepFault::kLoss);
  EXPECT_FALSE(std::isfinite(report->loss()));
  EXPECT_TRUE(std::isnan(report->grad_norm));
  expect_untouched(bench, before);
  bench.model.final_norm.copy_(norm);
  EXPECT_TRUE(train_step(bench.parts(), bench.options, {}, 1e-2)->updated());
  EXPECT_EQ(bench.optimizer.steps(), 1);
}

TEST(TrainStep, AGradientThatIsNotFiniteUpdatesNothingAndTheNextStepDoes) {
  Bench bench(1, 1), good(1, 1);
  test::break_gradient(bench.model);
  const Tensor before = bench.optimizer.params()[0].param.clone();
  const auto report = train_step(bench.parts(), bench.options, {}, 1e-2);
  EXPECT_EQ(report->fault, StepFault::kGradient);
  EXPECT_TRUE(std::isfinite(report->loss()));
  EXPECT_FALSE(std::isfinite(report->grad_norm));
  expect_untouched(bench, before);
  bench.model.each_lora([](const std::string&, nn::Lora& lora) { lora.b.zero_(); });
  EXPECT_TRUE(train_step(bench.parts(), bench.options, {}, 1e-2)->updated());
  EXPECT_EQ(bench.optimizer.steps(), 1);
}

TEST(TrainStep, IsNotMadeWhereTheCheckRefusesItsLoss) {
  Bench bench(2, 1);
  const Tensor before = bench.optimizer.params()[0].param.clone();
  double seen = 0.0;
  const auto report = train_step(bench.parts(), bench.options, {}, 1e-2, [&](const StepReport& r) {
    seen = r.loss();
    return false;
  });
  EXPECT_EQ(report->fault, StepFault::kSpike);
  EXPECT_EQ(report->loss(), seen);
  expect_untouched(bench, before);
  EXPECT_EQ(bench.batches.cursor(), (data::Cursor{0, 2}));
}

TEST(TakeStep, NamesTheDocumentsOfEveryPass) {
  Bench bench(1, 3);
  bench.batches.next();
  const StepPasses step = take_step(bench.batches, bench.options, 1);
  EXPECT_EQ(step.micro_batches, 3);
  EXPECT_EQ(step.documents, (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(step.tokens, 17 + 5 + 22);
  ASSERT_EQ(step.passes.size(), 3u);
  for (size_t p = 0; p < 3; ++p) EXPECT_EQ(step.passes[p].batch.documents, (std::vector<size_t>{p}));
  EXPECT_EQ(step.passes[2].dropout.micro_step, uint64_t{3} << 16);
}

TEST(TrainLoop, LogsEvaluatesAndSavesOnItsSchedules) {
  Bench bench(1, 1);
  LoopSchedule schedule;
  schedule.logging_steps = 2;
  schedule.eval_steps = 3;
  schedule.save_steps = 4;
  schedule.learning_rate = 1e-3;
  schedule.curve = {Schedule::kConstant, 0, 7};
  std::vector<int64_t> logged, saved;
  std::ostringstream screen;
  Progress progress(screen, std::nullopt);
  LoopHooks hooks;
  int evaluations = 0;
  hooks.evaluate = [&](const auto&) { return 2.0 - ++evaluations; };
  hooks.save = [&](const RunState& s) { saved.push_back(s.global_step); };
  hooks.log = [&](const MetricsRow& row) { logged.push_back(row.step); };
  hooks.progress = &progress;
  RunState state;
  state.max_steps = 7;
  double clock = 0.0;
  const LoopResult result = train_loop(bench.parts(), bench.options, schedule, hooks, [&] { return clock += 1.0; }, state);
  EXPECT_FALSE(result.interrupted);
  EXPECT_EQ(logged, (std::vector<int64_t>{2, 3, 4, 6, 7}));
  EXPECT_EQ(saved, (std::vector<int64_t>{4, 7}));
  EXPECT_EQ(evaluations, 2);
  EXPECT_EQ(state.best_metric, 0.0);
  EXPECT_EQ(state.micro_step, 7);
  EXPECT_EQ(state.cursor_epoch, 1);
  EXPECT_EQ(state.cursor_row, 3);
  EXPECT_DOUBLE_EQ(state.epoch, 1.75);
}

// A checkpoint of such an adapter is worth nothing, and rotation would delete good ones for it.
TEST(TrainLoop, SavesNoAdapterThatIsNotFinite) {
  Bench bench(1, 1);
  LoopSchedule schedule;
  schedule.save_steps = 1;
  schedule.learning_rate = 1e-3;
  schedule.curve = {Schedule::kConstant, 0, 7};
  std::vector<int64_t> saved;
  std::ostringstream screen;
  Progress progress(screen, std::nullopt);
  RunState state;
  state.max_steps = 7;
  LoopHooks hooks;
  hooks.progress = &progress;
  hooks.save = [&](const RunState& s) { saved.push_back(s.global_step); };
  hooks.log = [](const MetricsRow&) {};
  hooks.step_done = [&] {
    if (state.global_step == 3) bench.optimizer.params()[1].param.view(-1)[0].fill_(std::numeric_limits<float>::quiet_NaN());
  };
  EXPECT_THROW(train_loop(bench.parts(), bench.options, schedule, hooks, [] { return 0.0; }, state), RunError);
  EXPECT_EQ(saved, (std::vector<int64_t>{1, 2}));
}

// The checkpoint of a run that was stopped in an evaluation has the row that waits for it; the run that continues evaluates
// first, and logs what an uninterrupted run logs.
TEST(TrainLoop, AStopInAnEvaluationLosesNoRow) {
  LoopSchedule schedule;
  schedule.eval_steps = 2;
  schedule.save_steps = 2;
  schedule.learning_rate = 1e-3;
  schedule.curve = {Schedule::kConstant, 0, 3};
  std::ostringstream screen;
  Progress progress(screen, std::nullopt);
  double clock = 0.0;
  const auto now = [&] { return clock += 1.0; };
  const auto run = [&](Bench& bench, RunState& state, bool stops, std::vector<MetricsRow>& rows, std::vector<RunState>& saved) {
    LoopHooks hooks;
    hooks.evaluate = [&, stops](const auto&) -> std::optional<double> {
      if (stops) return std::nullopt;
      return 1.25;
    };
    hooks.save = [&](const RunState& s) { saved.push_back(s); };
    hooks.log = [&](const MetricsRow& row) { rows.push_back(row); };
    hooks.progress = &progress;
    return train_loop(bench.parts(), bench.options, schedule, hooks, now, state);
  };
  Bench whole(1, 1), cut(1, 1);
  RunState whole_state, state;
  whole_state.max_steps = state.max_steps = 3;
  std::vector<MetricsRow> expected, rows;
  std::vector<RunState> saved;
  EXPECT_FALSE(run(whole, whole_state, false, expected, saved).interrupted);
  saved.clear();
  EXPECT_TRUE(run(cut, state, true, rows, saved).interrupted);
  EXPECT_EQ(rows.size(), 1u);
  ASSERT_EQ(saved.size(), 1u);
  // Through the checkpoint's file.
  RunState resumed = parse_run_state(run_state_json(saved[0]), "");
  EXPECT_EQ(resumed.global_step, 2);
  ASSERT_TRUE(resumed.unfinished_row);
  EXPECT_FALSE(run(cut, resumed, false, rows, saved).interrupted);
  EXPECT_FALSE(resumed.unfinished_row);
  EXPECT_EQ(resumed.best_metric, 1.25);
  ASSERT_EQ(rows.size(), expected.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].step, expected[i].step);
    EXPECT_EQ(rows[i].loss, expected[i].loss);
    EXPECT_EQ(rows[i].eval_loss, expected[i].eval_loss);
    EXPECT_EQ(rows[i].grad_norm, expected[i].grad_norm);
  }
}

}  // namespace
}  // namespace nibble::trainer
