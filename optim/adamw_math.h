// One element of AdamW (Loshchilov & Hutter, arXiv 1711.05101) with the semantics and the order of operations of
// torch.optim.AdamW: the weight decays before the update, and the bias correction divides sqrt(v).
#pragma once

#include <cmath>
#include <cstdint>

namespace nibble::optim {

// What all elements of one step share, worked out once in fp64 and rounded to fp32, as torch does.
struct AdamWScalars {
  float grad_scale = 1.0f;        // factor of the stored gradient
  float decay = 1.0f;             // 1 - lr * weight_decay
  float one_minus_beta1 = 0.1f;
  float beta2 = 0.999f;
  float one_minus_beta2 = 0.001f;
  float correction2_sqrt = 1.0f;  // sqrt(1 - beta2^step)
  float epsilon = 1e-8f;
  float minus_step_size = 0.0f;   // -lr / (1 - beta1^step)
};

inline AdamWScalars adamw_scalars(double lr, double beta1, double beta2, double epsilon, double weight_decay, int64_t step,
                                  float grad_scale) {
  AdamWScalars s;
  const auto t = static_cast<double>(step);
  s.grad_scale = grad_scale;
  s.decay = static_cast<float>(1.0 - lr * weight_decay);
  s.one_minus_beta1 = static_cast<float>(1.0 - beta1);
  s.beta2 = static_cast<float>(beta2);
  s.one_minus_beta2 = static_cast<float>(1.0 - beta2);
  s.correction2_sqrt = static_cast<float>(std::sqrt(1.0 - std::pow(beta2, t)));
  s.epsilon = static_cast<float>(epsilon);
  s.minus_step_size = static_cast<float>(-lr / (1.0 - std::pow(beta1, t)));
  return s;
}

// Updates the moments in place and returns the new master weight.
inline float adamw_element(const AdamWScalars& s, float gradient, float master, float& m, float& v) {
  const float g = gradient * s.grad_scale;
  const float decayed = master * s.decay;
  m = m + s.one_minus_beta1 * (g - m);
  v = v * s.beta2 + s.one_minus_beta2 * g * g;
  const float denominator = std::sqrt(v) / s.correction2_sqrt + s.epsilon;
  return decayed + s.minus_step_size * m / denominator;
}

}  // namespace nibble::optim
