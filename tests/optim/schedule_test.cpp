// Literals: the lambdas of transformers.optimization evaluated in Python (fp64).
#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <vector>

namespace nibble::optim {
namespace {

struct Row {
  int64_t step;
  double linear, cosine;
};

TEST(Schedule, EqualsTheReferenceWithWarmup) {
  const std::vector<Row> rows{{0, 0.0, 0.0},
                              {1, 0.3333333333333333, 0.3333333333333333},
                              {2, 0.6666666666666666, 0.6666666666666666},
                              {3, 1.0, 1.0},
                              {9, 0.6470588235294118, 0.7228691778882692},
                              {19, 0.058823529411764705, 0.008513450158049107},
                              {20, 0.0, 0.0}};
  for (const Row& row : rows) {
    EXPECT_DOUBLE_EQ(schedule_factor({Schedule::kLinear, 3, 20}, row.step), row.linear) << row.step;
    EXPECT_DOUBLE_EQ(schedule_factor({Schedule::kCosine, 3, 20}, row.step), row.cosine) << row.step;
  }
}

TEST(Schedule, EqualsTheReferenceWithoutWarmup) {
  const std::vector<Row> rows{
      {0, 1.0, 1.0}, {1, 0.75, 0.8535533905932737}, {2, 0.5, 0.5}, {3, 0.25, 0.14644660940672627}, {4, 0.0, 0.0}};
  for (const Row& row : rows) {
    EXPECT_DOUBLE_EQ(schedule_factor({Schedule::kLinear, 0, 4}, row.step), row.linear) << row.step;
    EXPECT_DOUBLE_EQ(schedule_factor({Schedule::kCosine, 0, 4}, row.step), row.cosine) << row.step;
  }
}

TEST(Schedule, ConstantKnowsNoWarmup) {
  for (int64_t step : {0, 1, 7, 100}) EXPECT_EQ(schedule_factor({Schedule::kConstant, 10, 20}, step), 1.0);
}

TEST(Schedule, ConstantWithWarmupRisesThenStays) {
  const ScheduleConfig config{Schedule::kConstantWithWarmup, 4, 20};
  EXPECT_EQ(schedule_factor(config, 0), 0.0);
  EXPECT_EQ(schedule_factor(config, 3), 0.75);
  EXPECT_EQ(schedule_factor(config, 4), 1.0);
  EXPECT_EQ(schedule_factor(config, 500), 1.0);
}

TEST(Schedule, NeverRisesAgainPastTheEnd) {
  for (const Schedule type : {Schedule::kLinear, Schedule::kCosine}) {
    for (int64_t step = 20; step < 60; ++step) EXPECT_EQ(schedule_factor({type, 3, 20}, step), 0.0);
  }
}

TEST(Schedule, SurvivesAWarmupAsLongAsTheRun) {
  for (const Schedule type : {Schedule::kLinear, Schedule::kCosine, Schedule::kConstantWithWarmup}) {
    EXPECT_EQ(schedule_factor({type, 5, 5}, 4), 0.8);
    EXPECT_GE(schedule_factor({type, 5, 5}, 5), 0.0);
    EXPECT_EQ(schedule_factor({type, 50, 5}, 4), 0.08);
  }
}

TEST(WarmupSteps, ExplicitNumberWinsAndARatioRoundsUp) {
  EXPECT_EQ(warmup_steps(7, 0.5, 100), 7);
  EXPECT_EQ(warmup_steps(0, 0.03, 100), 3);
  EXPECT_EQ(warmup_steps(0, 0.03, 101), 4);
  EXPECT_EQ(warmup_steps(0, 0.0, 100), 0);
}

}  // namespace
}  // namespace nibble::optim
