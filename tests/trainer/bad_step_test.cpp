// Unit: trainer/bad_step. What follows a step that went wrong, by policy, with surroundings that only take notes.
#include "trainer/bad_step.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/step_bench.h"
#include "trainer/loss_watch.h"

namespace nibble::trainer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

StepReport report_of(StepFault fault, double loss) {
  StepReport report;
  report.trained_tokens = 10;
  report.nll = 10.0 * loss;
  report.micro_batches = 2;
  report.fault = fault;
  return report;
}

class BadStepsTest : public testing::Test {
 protected:
  BadStepsTest() {
    hooks_.say = [this](const std::string& line) { said_ += line + "\n"; };
    hooks_.record = [this](const BadStep& step) -> std::optional<std::filesystem::path> {
      recorded_.push_back(fmt::format("{} {}", fault_name(step.fault), remedy_name(step.remedy)));
      return "run/blackbox";
    };
    hooks_.records = [] { return std::vector<std::filesystem::path>{"run/blackbox-3", "run/blackbox-7"}; };
    hooks_.go_back = [this](const RunState&, const ResumePoint& point) { return point.state; };
    state_.global_step = 6;
  }
  Remedy settle(StepFault fault, double loss) {
    const StepParts parts = bench_.parts();
    BadSteps steps(rules_, hooks_, parts);
    const Remedy remedy = steps.settle(state_, report_of(fault, loss), 1e-3);
    error_ = steps.error();
    may_save_ = steps.may_save();
    return remedy;
  }
  // A checkpoint of step 4.
  void put_checkpoint() {
    hooks_.find = [](const RunState&) {
      ResumePoint point{"run/checkpoint-4", {}};
      point.state.global_step = 4;
      return std::optional(point);
    };
  }

  test::StepBench bench_{1, 1};
  BadStepRules rules_;
  BadStepHooks hooks_;
  RunState state_;
  std::string said_, error_;
  bool may_save_ = true;
  std::vector<std::string> recorded_;
};

TEST_F(BadStepsTest, IsSkippedAndRecordedByDefault) {
  EXPECT_EQ(settle(StepFault::kLoss, kNan), Remedy::kSkipped);
  EXPECT_THAT(recorded_, ElementsAre("loss skipped"));
  EXPECT_THAT(said_, HasSubstr("step 7: the loss is nan, not finite; its update is left out (1 of at most 5)"));
  EXPECT_THAT(said_, HasSubstr("nibble train --replay run/blackbox"));
  EXPECT_EQ(state_.global_step, 6);  // the caller's to move on
}

TEST_F(BadStepsTest, EndsTheRunByPolicyAndNamesTheRecords) {
  rules_.nan_policy = NanPolicy::kStop;
  EXPECT_EQ(settle(StepFault::kGradient, 1.0), Remedy::kStopped);
  EXPECT_THAT(recorded_, ElementsAre("gradient stopped"));
  EXPECT_THAT(error_, HasSubstr("step 7: the gradient's norm is nan, not finite (the loss is 1.0000)"));
  EXPECT_THAT(error_, HasSubstr("run/blackbox-3, run/blackbox-7"));
  EXPECT_TRUE(may_save_);
}

TEST_F(BadStepsTest, EndsTheRunOneStepPastTheLimit) {
  rules_.max_skipped_steps = 2;
  state_.skipped_steps = 1;
  EXPECT_EQ(settle(StepFault::kLoss, kNan), Remedy::kSkipped);
  state_.skipped_steps = 2;
  EXPECT_EQ(settle(StepFault::kLoss, kNan), Remedy::kStopped);
  EXPECT_THAT(error_, HasSubstr("max_skipped_steps: 2 are left out already"));
  rules_.max_skipped_steps = 0;
  state_.skipped_steps = 0;
  EXPECT_EQ(settle(StepFault::kLoss, kNan), Remedy::kStopped);
}

TEST_F(BadStepsTest, GoesBackAndLeavesTheStepOutOnTheWay) {
  rules_.nan_policy = NanPolicy::kRewind;
  put_checkpoint();
  state_.left_out_steps = {3, 5};
  EXPECT_EQ(settle(StepFault::kLoss, kNan), Remedy::kRewound);
  EXPECT_EQ(state_.global_step, 4);
  EXPECT_THAT(state_.left_out_steps, ElementsAre(5, 7));  // what lies before the checkpoint does not come again
  EXPECT_THAT(said_, HasSubstr("going back to checkpoint-4"));
  EXPECT_THAT(recorded_, ElementsAre("loss rewound"));
  EXPECT_TRUE(BadSteps::passes_over(state_));  // step 5
  state_.global_step = 5;
  EXPECT_FALSE(BadSteps::passes_over(state_));
}

// Steps that are still to be left out count: going back does not go on for ever.
TEST_F(BadStepsTest, GoesBackNoMoreOftenThanStepsMayBeLeftOut) {
  rules_.nan_policy = NanPolicy::kRewind;
  rules_.max_skipped_steps = 2;
  put_checkpoint();
  state_.left_out_steps = {8, 9};
  EXPECT_EQ(settle(StepFault::kLoss, kNan), Remedy::kStopped);
  EXPECT_EQ(state_.global_step, 6);
}

TEST_F(BadStepsTest, WithoutACheckpointSkipsInsteadOfGoingBack) {
  rules_.nan_policy = NanPolicy::kRewind;
  EXPECT_EQ(settle(StepFault::kLoss, kNan), Remedy::kSkipped);
  EXPECT_THAT(said_, HasSubstr("there is no checkpoint to go back to"));
}

TEST_F(BadStepsTest, AnAdapterThatIsNotFiniteIsNeitherSkippedNorSaved) {
  bench_.optimizer.params()[3].param.view(-1)[1].fill_(kNan);
  EXPECT_EQ(settle(StepFault::kLoss, kNan), Remedy::kStopped);
  EXPECT_FALSE(may_save_);
  EXPECT_THAT(error_, HasSubstr(bench_.optimizer.params()[3].name + " has 1 such values"));
  EXPECT_THAT(error_, HasSubstr("nibble resume --from"));
  // But going back may heal it.
  rules_.nan_policy = NanPolicy::kRewind;
  put_checkpoint();
  EXPECT_EQ(settle(StepFault::kLoss, kNan), Remedy::kRewound);
}

TEST_F(BadStepsTest, ASpikeFollowsItsOwnPolicy) {
  for (int step = 0; step < 50; ++step) watch_loss(state_.loss_watch, 1.0 + 0.01 * (step % 5), rules_.spike_threshold);
  const double limit = spike_limit(state_.loss_watch, rules_.spike_threshold);
  const StepParts parts = bench_.parts();
  const StepReport spike = report_of(StepFault::kNone, std::nextafter(limit, 100.0) + 1e-9), none = report_of(StepFault::kNone, limit - 1e-9);
  const auto allows = [&](LossSpikePolicy policy, const StepReport& report) {
    rules_.spike_policy = policy;
    return BadSteps(rules_, hooks_, parts).allows(state_, report, 1e-3);
  };
  EXPECT_TRUE(allows(LossSpikePolicy::kNone, spike));
  EXPECT_THAT(recorded_, IsEmpty());
  EXPECT_TRUE(allows(LossSpikePolicy::kWarn, none));
  EXPECT_THAT(recorded_, IsEmpty());
  EXPECT_TRUE(allows(LossSpikePolicy::kWarn, spike));
  EXPECT_THAT(recorded_, ElementsAre("spike trained"));
  EXPECT_THAT(said_, HasSubstr("warning: step 7: the loss is"));
  for (const LossSpikePolicy policy : {LossSpikePolicy::kSkip, LossSpikePolicy::kStop, LossSpikePolicy::kRewind}) EXPECT_FALSE(allows(policy, spike));
  rules_.nan_policy = NanPolicy::kStop;
  rules_.spike_policy = LossSpikePolicy::kSkip;
  EXPECT_EQ(settle(StepFault::kSpike, 9.0), Remedy::kSkipped);
  rules_.spike_policy = LossSpikePolicy::kStop;
  EXPECT_EQ(settle(StepFault::kSpike, 9.0), Remedy::kStopped);
  EXPECT_THAT(error_, HasSubstr("the loss is 9.0000, far above those before it"));
  EXPECT_THAT(error_, HasSubstr("loss_spike_policy: stop"));
}

}  // namespace
}  // namespace nibble::trainer
