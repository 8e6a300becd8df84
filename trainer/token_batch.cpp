#include "trainer/token_batch.h"

#include <algorithm>

namespace nibble::trainer {

std::vector<PassBatch> passes_of(const data::Batch& batch, int64_t pass_tokens) {
  std::vector<PassBatch> passes;
  const nn::TokenBatch whole = token_batch(batch);
  const std::span<const int32_t> starts = whole.document_starts;
  for (size_t first = 0; first + 1 < starts.size();) {
    size_t last = first + 1;  // one past the pass's documents
    while (last + 1 < starts.size() && starts[last] - starts[first] < pass_tokens) ++last;
    const auto begin = static_cast<size_t>(starts[first]), count = static_cast<size_t>(starts[last] - starts[first]);
    PassBatch pass;
    for (size_t d = first; d <= last; ++d) pass.document_starts.push_back(starts[d] - starts[first]);
    pass.tokens = {whole.ids.subspan(begin, count), whole.labels.subspan(begin, count), whole.positions.subspan(begin, count),
                   pass.document_starts};
    passes.push_back(std::move(pass));
    first = last;
  }
  return passes;
}

int64_t largest_pass(int64_t batch_tokens, int64_t longest, int64_t pass_tokens) {
  return std::min(batch_tokens, pass_tokens - 1 + longest);
}

}  // namespace nibble::trainer
