// Next-token cross entropy through the output head, in chunks of rows, on labelled rows only. The logits of all tokens
// never exist at once, and the gradient is made in the same pass over a chunk.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nn/model.h"

namespace nibble::nn {

// The rows that carry a loss: row i of the hidden states predicts targets[i].
struct LabelledRows {
  std::vector<int32_t> rows;
  std::vector<int32_t> targets;
};
// Position p predicts labels[p + 1] of the same document; a document's first label never counts.
LabelledRows labelled_rows(std::span<const int32_t> labels, std::span<const int32_t> document_starts);

// SHAPES hidden [T, C] (after the final norm), head [V, C]; d_hidden [T, C] is written, rows without a loss get zero;
// undefined d_hidden: the loss alone.
LossSum head_loss(const Tensor& hidden, const FrozenWeight& head, const LabelledRows& labelled, int64_t chunk_rows,
                  const Tensor& d_hidden, Workspace& ws);

// The same on a device: nothing waits for it, and the loss is added to *nll. SHAPES rows, targets [N] int32: LabelledRows;
// nll [1] fp64; all on the device.
void head_loss_queued(const Tensor& hidden, const FrozenWeight& head, const Tensor& rows, const Tensor& targets,
                      int64_t chunk_rows, const Tensor& d_hidden, const Tensor& nll, Workspace& ws);

}  // namespace nibble::nn
