// A layer's work on either side of attention, in pieces that are repeated as graphs (nn/step_graph.h) where the pass uses them.
//
//   forward   kHeads      norm, q, k, v, rope | attention | kMlp   o, norm, gate, up, down
//   backward  kHeadsAgain (what attention reads, rebuilt) | attention | kMlpBackward   the rest that is rebuilt, down to o's
//             | attention backward | kHeadsBackward   rope, q, k, v, norm
//
// What a piece leaves on the host is which tensors it took, where the arenas stand and which weight is decoded: a replay brings
// that back as it was after the recording. It is the same because the key holds all that it follows from.
#pragma once

#include <functional>
#include <initializer_list>

#include "nn/layer.h"
#include "nn/step_graph.h"

namespace nibble::nn {

enum class LayerPiece : int64_t { kHeads, kMlp, kHeadsAgain, kMlpBackward, kHeadsBackward };

class LayerPieces {
 public:
  // All outlive it. `also`: tensors besides those of `s` that pieces work on, or take for one another.
  LayerPieces(const Layer& layer, const LayerContext& context, RecomputePolicy policy, LayerSaved& s,
              std::initializer_list<Tensor*> also, Workspace& ws);

  // Runs `work`, or repeats what it queued. `choice` tells works of one piece apart. THROWS what `work` throws
  void run(LayerPiece piece, const std::function<void()>& work, int64_t choice = 0);

 private:
  struct Host;
  StepGraphs::Key key(LayerPiece piece, int64_t choice) const;
  Host save(size_t from) const;
  void restore(const Host& host, size_t from);

  const Layer& layer_;
  const LayerContext& context_;
  Workspace& ws_;
  std::vector<Tensor*> tensors_;
  StepGraphs::Key fixed_;  // what the keys of all pieces begin with
};

}  // namespace nibble::nn
