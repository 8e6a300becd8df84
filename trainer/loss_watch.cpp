#include "trainer/loss_watch.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace nibble::trainer {

double spike_limit(const LossWatchState& watch, double threshold) {
  if (watch.steps < kLossWatchWarmup) return std::numeric_limits<double>::infinity();
  const double deviation = std::max(std::sqrt(watch.variance), kLossWatchLeastShare * std::fabs(watch.mean));
  return watch.mean + threshold * deviation;
}

void watch_loss(LossWatchState& watch, double loss, double threshold) {
  const double taken = std::min(loss, spike_limit(watch, threshold));
  ++watch.steps;
  const double memory = std::clamp(static_cast<double>(watch.steps) / 3.0, 1.0, static_cast<double>(kLossWatchMemory));
  const double weight = 1.0 / memory;
  const double difference = taken - watch.mean;
  watch.mean += weight * difference;
  watch.variance = (1.0 - weight) * (watch.variance + weight * difference * difference);
}

}  // namespace nibble::trainer
