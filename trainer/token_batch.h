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
// through the model in parts of at most so many tokens, or one document that is longer, so that a larger batch costs no more
// memory. (A multiple of kCpuPassMultiple: filling up does not exceed it.)
inline constexpr int64_t kCpuPassTokens = 512;

// On a CPU, LibTorch makes new kernels for every number of rows that a product has not had yet, and keeps them: with rows of
// any length memory would grow for hundreds of steps. So a pass is filled up to a multiple of this.
inline constexpr int64_t kCpuPassMultiple = 64;

// Passes of a run that uses CUDA graphs are filled up to a multiple of this, so that numbers of tokens come again: a graph is of one
// number. Half of it is what an average pass computes in vain, 128 of some thousand tokens.
inline constexpr int64_t kGraphPassMultiple = 256;

// A core does not get a pass of its own for fewer tokens on average: filling up would cost more than waiting for one another.
inline constexpr int64_t kLeastPassTokens = 256;

// How a batch is cut into passes.
struct PassSize {
  int64_t tokens = kCpuPassTokens;      // at most, but for a document that is longer
  int64_t multiple = kCpuPassMultiple;  // filled up to
};

// What suits the place: on a device a batch is one pass, as it is. A larger one computes no slower there, and its launches cost
// the same.
PassSize pass_size(const nn::Place& place);

// Some of a batch's documents, in its order, which go through the model together, and after them a document of nothing that fills the
// pass up: without labels, so that it adds nothing to loss and gradients.
struct PassBatch {
  std::vector<int32_t> ids, labels, positions, document_starts;
  std::vector<size_t> documents = {};  // which of the batch's they are; without the one that fills up

  nn::TokenBatch view() const { return {ids, labels, positions, document_starts}; }
};

// Whole documents, shared out so that a pass has at most `pass_tokens` tokens or one longer document. `at_a_time` passes are
// computed side by side: their number is a multiple of it, where there are as many documents and tokens enough, and they have about
// as many tokens each. They depend on the lengths and their order alone; sums over them are the batch's. REQUIRES pass_tokens, multiple, at_a_time >= 1.
std::vector<PassBatch> passes_of(const data::Batch& batch, int64_t pass_tokens, int64_t multiple, int64_t at_a_time = 1);

// The most tokens that a pass can have, filling up included, where a batch has at most `batch_tokens` and a document at most
// `longest`. With one at a time, some batch with these bounds has such a pass.
int64_t largest_pass(int64_t batch_tokens, int64_t longest, int64_t pass_tokens, int64_t multiple, int64_t at_a_time = 1);

}  // namespace nibble::trainer
