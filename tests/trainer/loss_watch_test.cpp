// Unit: trainer/loss_watch. What is a spike on losses as they come, and what is not.
#include "trainer/loss_watch.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/rng.h"

namespace nibble::trainer {
namespace {

constexpr double kThreshold = 8.0;  // the configuration's default

// From 0 to 1, the same every time.
double uniform(uint64_t series, int64_t step) { return random_uniform({11, RngPurpose::kTest, series}, static_cast<uint64_t>(step)); }

// Standard normal: Box and Muller.
double normal(uint64_t series, int64_t step) {
  return std::sqrt(-2.0 * std::log(1.0 - uniform(2 * series, step))) * std::cos(6.283185307179586 * uniform(2 * series + 1, step));
}

// Steps of the curve that lie above the limit.
template <class Loss>
int64_t alarms(int64_t steps, const Loss& loss) {
  LossWatchState watch;
  int64_t count = 0;
  for (int64_t step = 0; step < steps; ++step) {
    count += loss(step) > spike_limit(watch, kThreshold);
    watch_loss(watch, loss(step), kThreshold);
  }
  return count;
}

TEST(LossWatch, KnowsMeanAndDeviationOfLossesThatStay) {
  LossWatchState watch;
  for (int64_t step = 0; step < 5000; ++step) watch_loss(watch, 2.0 + 0.3 * normal(1, step), kThreshold);
  EXPECT_EQ(watch.steps, 5000);
  // (d) a mean and a variance over some 200 samples: 4 standard errors.
  EXPECT_NEAR(watch.mean, 2.0, 4 * 0.3 / std::sqrt(200.0));
  EXPECT_NEAR(watch.variance, 0.09, 4 * 0.09 * std::sqrt(2.0 / 200.0));
}

// A run on few rows: from 6 to nothing in a dozen steps, and then a row that is not among them.
TEST(LossWatch, ForgetsTheFallAtTheStart) {
  LossWatchState watch;
  for (int64_t step = 0; step < 32; ++step) watch_loss(watch, 0.05 + 6.0 * std::exp(-0.5 * static_cast<double>(step)), kThreshold);
  EXPECT_LT(spike_limit(watch, kThreshold), 2.0);
}

TEST(LossWatch, KnowsNoSpikeInTheFirstSteps) {
  LossWatchState watch;
  for (int64_t step = 0; step < kLossWatchWarmup; ++step) {
    EXPECT_EQ(spike_limit(watch, kThreshold), std::numeric_limits<double>::infinity());
    watch_loss(watch, 1.0, kThreshold);
  }
  EXPECT_LT(spike_limit(watch, kThreshold), 2.0);
}

TEST(LossWatch, NoticesASpikeAndTheNextOne) {
  LossWatchState watch;
  for (int64_t step = 0; step < 100; ++step) watch_loss(watch, 1.5 + 0.1 * normal(2, step), kThreshold);
  EXPECT_GT(4.0, spike_limit(watch, kThreshold));
  watch_loss(watch, 1e30, kThreshold);  // trained on: it counts as the limit
  EXPECT_GT(4.0, spike_limit(watch, kThreshold));
  EXPECT_TRUE(std::isfinite(watch.variance));
}

TEST(LossWatch, AHigherLevelBecomesTheNewMean) {
  const int64_t count = alarms(400, [](int64_t step) { return step < 200 ? 1.0 : 6.0; });
  EXPECT_GE(count, 1);
  EXPECT_LE(count, 20);
}

// Losses of small batches are far from normal: a step of one short answer is anywhere between nothing and several times the mean.
TEST(LossWatch, DoesNotCryWolfOverNoise) {
  int64_t skewed = 0;
  for (uint64_t series = 10; series < 60; series += 2) {
    EXPECT_EQ(alarms(2000, [&](int64_t step) { return 2.0 * std::exp(-static_cast<double>(step) / 400.0) + 1.0 + 0.3 * normal(series, step); }), 0);
    skewed += alarms(2000, [&](int64_t step) { return 1.2 * std::exp(0.4 * normal(series, step)); });  // log-normal
    EXPECT_EQ(alarms(2000, [&](int64_t step) { return 0.02 + 0.01 * std::fabs(normal(series, step)); }), 0);          // learned by heart
  }
  EXPECT_LE(skewed, 10);  // in 50,000 steps
  // A curve that falls at once, and one that rises slowly.
  EXPECT_EQ(alarms(500, [](int64_t step) { return step < 5 ? 9.0 : 1.0; }), 0);
  EXPECT_EQ(alarms(5000, [](int64_t step) { return 1.0 + 0.001 * static_cast<double>(step); }), 0);
}

}  // namespace
}  // namespace nibble::trainer
