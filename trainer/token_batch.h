// The seam between data, which never sees a tensor, and nn, which never sees a file.
#pragma once

#include <vector>

#include "data/sample.h"
#include "nn/model.h"

namespace nibble::trainer {

// Views the batch; it must outlive the view.
inline nn::TokenBatch token_batch(const data::Batch& batch) {
  return {batch.ids, batch.labels, batch.positions, batch.document_starts};
}

// On a CPU, products are as fast with this many rows as with more, and activations take memory in proportion: a batch goes
// through the model in parts of at least so many tokens, so that a larger batch costs no more memory.
inline constexpr int64_t kCpuPassTokens = 512;

// Some of a batch's documents, which go through the model together. Views the batch.
struct PassBatch {
  nn::TokenBatch tokens;
  std::vector<int32_t> document_starts;  // what tokens.document_starts views
};

// Whole documents in order; a pass ends with the document that brings it to `pass_tokens`. Sums over the passes are the
// batch's. REQUIRES pass_tokens >= 1.
std::vector<PassBatch> passes_of(const data::Batch& batch, int64_t pass_tokens);

// The most tokens that a pass can have where a batch has at most `batch_tokens` and a document at most `longest`.
int64_t largest_pass(int64_t batch_tokens, int64_t longest, int64_t pass_tokens);

}  // namespace nibble::trainer
