// The worst step first: before a run's first step, one at the largest shapes that its data can produce, so that a run that
// would run out of memory does so within its first minute, and no later step can for its shape.
//
// It is a rehearsal: forward, backward, optimizer and evaluation run, and afterwards every bit is as it was. Gradients are
// zeroed by each step anyway, dropout masks are functions of a counter, the data's position is not touched, and the
// optimizer goes through a step that changes nothing (Optimizer::rehearse).
#pragma once

#include <cstdint>
#include <functional>

#include "data/dataset.h"
#include "nn/model.h"
#include "optim/optimizer.h"
#include "trainer/pass_team.h"
#include "trainer/token_batch.h"

namespace nibble::trainer {

// Bounds that every pass over some rows keeps, in whichever order they come.
struct WorstShape {
  int64_t tokens = 0;     // filling up included
  int64_t longest = 0;    // tokens of a document
  int64_t documents = 0;
  int64_t labelled = 0;   // tokens with a label

  bool operator==(const WorstShape&) const = default;
};

// Of passes of at most `pass_tokens` or one longer document, filled up to a multiple of `pass_multiple`, made of batches of
// `rows_per_batch` rows: see passes_of. All zero without rows.
WorstShape worst_shape(const data::Dataset& rows, int64_t rows_per_batch, int64_t pass_tokens, int64_t pass_multiple,
                      int64_t at_a_time = 1);

// A pass of that shape, all bounds reached at once as far as they allow each other: its tokens are spread over the vocabulary.
// REQUIRES shape.tokens >= 1
PassBatch worst_pass(const WorstShape& shape, int64_t vocab_size);

// Runs forward and backward over `train` in every member of the team, the optimizer, and the evaluation of `evaluation` (no tokens: none), and leaves
// gradients at zero and everything else as it was. `each` is called before each of these and may throw to stop.
// THROWS what a step throws for want of memory.
void make_worst_step(nn::Model& model, PassTeam& passes, optim::Optimizer& optimizer, const nn::PassOptions& options,
                     const WorstShape& train, const WorstShape& evaluation, const std::function<void()>& each = {});

}  // namespace nibble::trainer
