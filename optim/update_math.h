// What every optimizer's arithmetic shares: the numbers of one step, and how a parameter's elements are cut into chunks.
// Host and device code alike (C++17), so that the CPU and CUDA give the same bits.
//
// An optimizer is a rule (AdamWTorch, AdamWBnb in optim/adamw_math.h; Lion in optim/lion_math.h): a struct with
//   kMoments                            fp32 values of state an element has beside its master weight, 1 or 2
//   scalars(config, lr, step)           the numbers of a step, worked out once on the host
//   update(scalars, g, master, m, v)    one element: changes its moments in place and returns its new master weight
#pragma once

#include <cstdint>

#include "gpu/launch.h"

namespace nibble::optim {

// Elements of a parameter that one block of CUDA threads updates, and one task of a CPU thread: 16 a CUDA thread, and small
// enough for a CPU's second-level cache with all their state.
inline constexpr int kChunkElements = 4096;
inline constexpr int kChunkThreads = 256;

// Values that share a scale in 8-bit state (bitsandbytes' block size). Divides kChunkElements.
inline constexpr int kMomentBlock = 256;

struct UpdateConfig {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.0;
};

// What all elements of one step share. A rule sets those that it uses.
struct UpdateScalars {
  float grad_scale = 1.0f;  // factor of the stored gradient: 1/tokens and clipping; not a rule's to set
  float decay = 1.0f;       // 1 - lr * weight_decay
  float beta1 = 0.0f;
  float one_minus_beta1 = 0.0f;
  float beta2 = 0.0f;
  float one_minus_beta2 = 0.0f;
  float correction2_sqrt = 1.0f;  // sqrt(1 - beta2^step)
  float epsilon = 0.0f;
  float step_size = 0.0f;  // what the update direction is multiplied by before it is added; negative
};

}  // namespace nibble::optim
