#include "trainer/token_batch.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/round_up.h"

namespace nibble::trainer {

namespace {

// Documents by pass, as indices: longest first, each into the first pass that has room for it. Fewer passes, and fuller ones,
// than in the batch's order (gsm8k, 16 rows: 445 tokens instead of 400). All of them in order where one pass holds them.
std::vector<std::vector<size_t>> share_out(const std::vector<int32_t>& starts, int64_t pass_tokens) {
  const size_t documents = starts.size() - 1;
  const auto length = [&](size_t d) { return static_cast<int64_t>(starts[d + 1] - starts[d]); };
  std::vector<size_t> order(documents);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return length(a) > length(b); });
  std::vector<std::vector<size_t>> passes;
  std::vector<int64_t> tokens;
  for (const size_t d : order) {
    size_t p = 0;
    while (p < passes.size() && tokens[p] + length(d) > pass_tokens) ++p;
    if (p == passes.size()) {
      passes.emplace_back();
      tokens.push_back(0);
    }
    passes[p].push_back(d);
    tokens[p] += length(d);
  }
  for (auto& pass : passes) std::sort(pass.begin(), pass.end());
  return passes;
}

PassBatch pass_with(const data::Batch& batch, const std::vector<size_t>& documents) {
  PassBatch pass;
  pass.document_starts.push_back(0);
  for (const size_t d : documents) {
    const auto begin = static_cast<std::ptrdiff_t>(batch.document_starts[d]), end = static_cast<std::ptrdiff_t>(batch.document_starts[d + 1]);
    const auto append = [&](std::vector<int32_t>& to, const auto& from) { to.insert(to.end(), from.begin() + begin, from.begin() + end); };
    append(pass.ids, batch.ids);
    append(pass.labels, batch.labels);
    append(pass.positions, batch.positions);
    pass.document_starts.push_back(static_cast<int32_t>(pass.ids.size()));
  }
  return pass;
}

void fill_up(PassBatch& pass, int64_t multiple) {
  const auto tokens = static_cast<int64_t>(pass.ids.size());
  const int64_t missing = round_up(tokens, multiple) - tokens;
  if (missing == 0) return;
  // As long a document as the pass has already is within the positions that the model knows.
  const int32_t known = *std::max_element(pass.positions.begin(), pass.positions.end()) + 1;
  for (int64_t i = 0; i < missing; ++i) {
    pass.ids.push_back(0);
    pass.labels.push_back(-100);
    pass.positions.push_back(static_cast<int32_t>(i % known));
  }
  pass.document_starts.push_back(static_cast<int32_t>(tokens + missing));
}

}  // namespace

PassSize pass_size(const nn::Place& place) {
  return place.queue ? PassSize{std::numeric_limits<int32_t>::max(), 1} : PassSize{};
}

std::vector<PassBatch> passes_of(const data::Batch& batch, int64_t pass_tokens, int64_t multiple) {
  std::vector<PassBatch> passes;
  if (batch.document_starts.size() < 2) return passes;
  for (const std::vector<size_t>& documents : share_out(batch.document_starts, pass_tokens)) {
    passes.push_back(pass_with(batch, documents));
    fill_up(passes.back(), multiple);
  }
  return passes;
}

int64_t largest_pass(int64_t batch_tokens, int64_t longest, int64_t pass_tokens, int64_t multiple) {
  return round_up(std::min(batch_tokens, std::max(pass_tokens, longest)), multiple);
}

}  // namespace nibble::trainer
