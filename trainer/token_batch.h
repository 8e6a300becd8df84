// The seam between data, which never sees a tensor, and nn, which never sees a file.
#pragma once

#include "data/sample.h"
#include "nn/model.h"

namespace nibble::trainer {

// Views the batch; it must outlive the view.
inline nn::TokenBatch token_batch(const data::Batch& batch) {
  return {batch.ids, batch.labels, batch.positions, batch.document_starts};
}

}  // namespace nibble::trainer
