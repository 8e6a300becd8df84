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
//   offload      the same, with the input in pinned host memory (nn/activation_offload.h); on a CPU, where there is no other
//                memory to go to, it is `layer`
struct RecomputePolicy {
  Recompute level = Recompute::kNone;

  bool keeps_elementwise() const { return level == Recompute::kNone; }
  bool keeps_mlp() const { return level == Recompute::kNone || level == Recompute::kElementwise; }
  bool keeps_attention() const { return level != Recompute::kLayer && level != Recompute::kOffload; }
  bool offloads_input() const { return level == Recompute::kOffload; }  // on a device
};

}  // namespace nibble::nn
