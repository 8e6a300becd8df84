// Scalar math of SwiGLU (Shazeer 2020): silu(gate) * up, written so that the compiler vectorizes loops over it.
#pragma once

#include "nn/cross_entropy_math.h"

namespace nibble::nn {

struct SiluParts {
  float sigmoid;
  float silu;     // gate * sigmoid
};

// From exp(-|gate|), so that neither sign overflows. NUMERICS within 4 ulp, where sigmoid is above 1e-38.
NIBBLE_HOST_DEVICE inline SiluParts silu_parts(float gate) {
  const float magnitude = gate < 0.0f ? -gate : gate;
  const float e = exp_nonpositive(-magnitude);
  const float numerator = gate < 0.0f ? e : 1.0f;
  const float sigmoid = numerator / (1.0f + e);
  return {sigmoid, gate * sigmoid};
}

// d silu(gate) / d gate
NIBBLE_HOST_DEVICE inline float silu_derivative(float gate, float sigmoid) { return sigmoid * (1.0f + gate * (1.0f - sigmoid)); }

}  // namespace nibble::nn
