// Which activations a layer keeps for its backward pass and which it rebuilds. Rebuilding repeats the same operations on
// the same values, so no choice changes a number.
#pragma once

#include "schema/enums.h"

namespace nibble::nn {

// What LayerSaved keeps at each level; what is not kept is rebuilt in backward.
//   none         everything but swiglu's output, which comes back for nothing in the pass over its gradient
//   elementwise  not: outputs of norms
//   mlp          not: those, gate and up
//   layer        only the layer's input; the down projection is never rebuilt, since nothing needs its output
struct RecomputePolicy {
  Recompute level = Recompute::kNone;

  bool keeps_elementwise() const { return level == Recompute::kNone; }
  bool keeps_mlp() const { return level == Recompute::kNone || level == Recompute::kElementwise; }
  bool keeps_attention() const { return level != Recompute::kLayer; }
};

}  // namespace nibble::nn
