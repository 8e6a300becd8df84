// Learning-rate curves: a factor of the configured rate for each optimizer step.
//
// Definitions of transformers.optimization (get_linear_schedule_with_warmup and its siblings), so that a run here and a
// run there use the same rate at the same step: the first warm-up step has rate 0, and "constant" knows no warm-up.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "schema/enums.h"

namespace nibble::optim {

struct ScheduleConfig {
  Schedule type = Schedule::kLinear;
  int64_t warmup_steps = 0;  // >= 0
  int64_t total_steps = 1;   // optimizer steps of the whole run, > 0
};

// Warm-up steps of a run: an explicit number wins over a ratio, which rounds up (as TrainingArguments.get_warmup_steps).
inline int64_t warmup_steps(int64_t explicit_steps, double ratio, int64_t total_steps) {
  if (explicit_steps > 0) return explicit_steps;
  return static_cast<int64_t>(std::ceil(ratio * static_cast<double>(total_steps)));
}

// The factor in [0, 1] for optimizer step `step`, counted from 0. Steps past the end keep the curve's last value.
inline double schedule_factor(const ScheduleConfig& config, int64_t step) {
  if (config.type == Schedule::kConstant) return 1.0;
  const auto now = static_cast<double>(step);
  const auto warmup = static_cast<double>(config.warmup_steps);
  if (step < config.warmup_steps) return now / std::max(1.0, warmup);

  const auto total = static_cast<double>(config.total_steps);
  const double decay_steps = std::max(1.0, total - warmup);
  switch (config.type) {
    case Schedule::kLinear:
      return std::max(0.0, (total - now) / decay_steps);
    case Schedule::kCosine: {
      // Half a cosine: from 1 at the end of warm-up to 0 at the last step. Past it the curve would rise again.
      const double progress = std::min(1.0, (now - warmup) / decay_steps);
      return std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
    }
    case Schedule::kConstant:
    case Schedule::kConstantWithWarmup:
      return 1.0;
  }
  return 1.0;
}

}  // namespace nibble::optim
