// One element of AdamW (Loshchilov & Hutter, arXiv 1711.05101), as torch and as bitsandbytes compute it. The two round
// differently and decay at different times; a run keeps the numbers of the name that it chose.
#pragma once

#include <cmath>

#include "optim/update_math.h"

namespace nibble::optim {

// torch.optim.AdamW: the weight decays before the update, and the bias correction divides sqrt(v). Scalars are worked out
// in fp64 and rounded once.
struct AdamWTorch {
  static constexpr int kMoments = 2;

  static UpdateScalars scalars(const UpdateConfig& config, double lr, int64_t step) {
    UpdateScalars s;
    const auto t = static_cast<double>(step);
    s.decay = static_cast<float>(1.0 - lr * config.weight_decay);
    s.one_minus_beta1 = static_cast<float>(1.0 - config.beta1);
    s.beta2 = static_cast<float>(config.beta2);
    s.one_minus_beta2 = static_cast<float>(1.0 - config.beta2);
    s.correction2_sqrt = static_cast<float>(std::sqrt(1.0 - std::pow(config.beta2, t)));
    s.epsilon = static_cast<float>(config.epsilon);
    s.step_size = static_cast<float>(-lr / (1.0 - std::pow(config.beta1, t)));
    return s;
  }

  NIBBLE_HOST_DEVICE static float update(const UpdateScalars& s, float gradient, float master, float& m, float& v) {
    const float g = gradient * s.grad_scale;
    const float decayed = master * s.decay;
    m = m + s.one_minus_beta1 * (g - m);
    v = v * s.beta2 + s.one_minus_beta2 * g * g;
    const float denominator = std::sqrt(v) / s.correction2_sqrt + s.epsilon;
    return decayed + s.step_size * m / denominator;
  }
};

// bitsandbytes' CUDA kernels (csrc/kernels.cu, kOptimizer32bit2State and kOptimizerStatic8bit2StateBlockwise): the decay
// comes after the update, the bias corrections are in the step size, and all arithmetic is fp32. Theirs is compiled with
// fast math; here every operation rounds once. The powers are rounded from fp64, where powf may be off by an ulp.
struct AdamWBnb {
  static constexpr int kMoments = 2;

  static UpdateScalars scalars(const UpdateConfig& config, double lr, int64_t step) {
    UpdateScalars s;
    const auto t = static_cast<double>(step);
    const auto rate = static_cast<float>(lr);
    s.beta1 = static_cast<float>(config.beta1);
    s.beta2 = static_cast<float>(config.beta2);
    s.one_minus_beta1 = 1.0f - s.beta1;
    s.one_minus_beta2 = 1.0f - s.beta2;
    const float correction1 = 1.0f - static_cast<float>(std::pow(static_cast<double>(s.beta1), t));
    s.correction2_sqrt = std::sqrt(1.0f - static_cast<float>(std::pow(static_cast<double>(s.beta2), t)));
    s.epsilon = static_cast<float>(config.epsilon) * s.correction2_sqrt;
    s.step_size = -rate * s.correction2_sqrt / correction1;
    s.decay = 1.0f - rate * static_cast<float>(config.weight_decay);
    return s;
  }

  NIBBLE_HOST_DEVICE static float update(const UpdateScalars& s, float gradient, float master, float& m, float& v) {
    const float g = gradient * s.grad_scale;
    m = m * s.beta1 + s.one_minus_beta1 * g;
    v = v * s.beta2 + s.one_minus_beta2 * g * g;
    return (master + s.step_size * (m / (std::sqrt(v) + s.epsilon))) * s.decay;
  }
};

}  // namespace nibble::optim
