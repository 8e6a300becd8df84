#include "trainer/token_batch.h"

#include <algorithm>
#include <limits>

namespace nibble::trainer {

namespace {

template <class Values>
std::vector<int32_t> part(const Values& values, size_t begin, size_t end) {
  const auto first = values.begin() + static_cast<std::ptrdiff_t>(begin), last = values.begin() + static_cast<std::ptrdiff_t>(end);
  return {first, last};
}

void fill_up(PassBatch& pass, int64_t multiple) {
  const auto tokens = static_cast<int64_t>(pass.ids.size());
  const int64_t missing = (multiple - tokens % multiple) % multiple;
  if (missing == 0) return;
  for (int64_t i = 0; i < missing; ++i) {
    pass.ids.push_back(0);
    pass.labels.push_back(-100);
    // As long a document as the pass has already is within the positions that the model knows.
    pass.positions.push_back(static_cast<int32_t>(i % tokens));
  }
  pass.document_starts.push_back(static_cast<int32_t>(tokens + missing));
}

}  // namespace

PassSize pass_size(const nn::Place& place) {
  return place.queue ? PassSize{std::numeric_limits<int32_t>::max(), 1} : PassSize{};
}

std::vector<PassBatch> passes_of(const data::Batch& batch, int64_t pass_tokens, int64_t multiple) {
  std::vector<PassBatch> passes;
  const auto& starts = batch.document_starts;
  for (size_t first = 0; first + 1 < starts.size();) {
    size_t last = first + 1;  // one past the pass's documents
    while (last + 1 < starts.size() && starts[last] - starts[first] < pass_tokens) ++last;
    const auto begin = static_cast<size_t>(starts[first]), end = static_cast<size_t>(starts[last]);
    PassBatch pass{part(batch.ids, begin, end), part(batch.labels, begin, end), part(batch.positions, begin, end), {}};
    for (size_t d = first; d <= last; ++d) pass.document_starts.push_back(starts[d] - starts[first]);
    fill_up(pass, multiple);
    passes.push_back(std::move(pass));
    first = last;
  }
  return passes;
}

int64_t largest_pass(int64_t batch_tokens, int64_t longest, int64_t pass_tokens, int64_t multiple) {
  const int64_t most = std::min(batch_tokens, pass_tokens - 1 + longest);
  return (most + multiple - 1) / multiple * multiple;
}

}  // namespace nibble::trainer
