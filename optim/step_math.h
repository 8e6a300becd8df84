// The head of an optimizer step: from the gradients' sum of squares to the numbers that the update reads. On CUDA it runs on
// the device, so that a step has no round trip to the host. Host and device code alike (C++17).
#pragma once

#include "optim/clip_math.h"

namespace nibble::optim {

// What the host knows of a step.
struct StepNumbers {
  UpdateScalars scalars;       // by the rule; grad_scale is set by begin_step
  double tokens = 1.0;         // the gradients are sums over this many
  double max_grad_norm = 0.0;  // <= 0: no clipping
  int64_t step = 0;            // counted from 1
};

// What the update reads and the host may look at later. Zeros before the first step.
struct StepState {
  UpdateScalars scalars;
  double grad_norm = 0.0;    // of the last step, before clipping
  int64_t refused_step = 0;  // the first step whose gradient was not finite; 0: none. It and all after it change nothing
};

NIBBLE_HOST_DEVICE inline void begin_step(const StepNumbers& numbers, double square_sum, StepState& state) {
  const ClippedGradient clipped = clipped_gradient(square_sum, numbers.tokens, numbers.max_grad_norm);
  state.scalars = numbers.scalars;
  state.scalars.grad_scale = clipped.scale;
  state.grad_norm = clipped.grad_norm;
  if (state.refused_step == 0 && !clipped.finite()) state.refused_step = numbers.step;
}

}  // namespace nibble::optim
