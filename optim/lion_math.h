// One element of Lion (Chen et al., "Symbolic Discovery of Optimization Algorithms", arXiv 2302.06675, algorithm 2), in
// fp32 with bitsandbytes' order of operations: every weight moves by the learning rate against the sign of an interpolated
// momentum, and the weight decays before it moves.
//
// bitsandbytes' 32-bit CUDA kernel adds the decay to the gradient, where the sign swallows it; its 8-bit kernel and its other
// back ends decay the weight, as the paper does. Here both widths follow the paper.
#pragma once

#include "optim/update_math.h"

namespace nibble::optim {

struct Lion {
  static constexpr int kMoments = 1;

  static UpdateScalars scalars(const UpdateConfig& config, double lr, int64_t /*step*/) {
    UpdateScalars s;
    const auto rate = static_cast<float>(lr);
    s.beta1 = static_cast<float>(config.beta1);
    s.beta2 = static_cast<float>(config.beta2);
    s.one_minus_beta1 = 1.0f - s.beta1;
    s.one_minus_beta2 = 1.0f - s.beta2;
    s.step_size = -rate;
    s.decay = 1.0f - rate * static_cast<float>(config.weight_decay);
    return s;
  }

  // v is not used.
  NIBBLE_HOST_DEVICE static float update(const UpdateScalars& s, float gradient, float master, float& m, float& /*v*/) {
    const float g = gradient * s.grad_scale;
    const float direction = m * s.beta1 + s.one_minus_beta1 * g;
    m = m * s.beta2 + s.one_minus_beta2 * g;
    const float sign = direction > 0.0f ? 1.0f : (direction < 0.0f ? -1.0f : 0.0f);
    return master * s.decay + s.step_size * sign;
  }
};

}  // namespace nibble::optim
