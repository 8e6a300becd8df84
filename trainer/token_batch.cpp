#include "trainer/token_batch.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/round_up.h"

namespace nibble::trainer {

namespace {

// Documents by pass, as indices into a batch, in its order.
struct Shares {
  std::vector<std::vector<size_t>> passes;
  std::vector<int64_t> tokens;  // of each

  void add(size_t pass, size_t document, int64_t length) {
    if (pass == passes.size()) {
      passes.emplace_back();
      tokens.push_back(0);
    }
    passes[pass].push_back(document);
    tokens[pass] += length;
  }
};

// Longest first, each into the first pass that has room for it: fewer passes, and fuller ones, than in the batch's order (gsm8k,
// 16 rows: 445 tokens instead of 400). All of them in one where it holds them.
Shares fullest(const std::vector<size_t>& longest_first, const std::vector<int64_t>& lengths, int64_t pass_tokens) {
  Shares shares;
  for (const size_t d : longest_first) {
    size_t p = 0;
    while (p < shares.passes.size() && shares.tokens[p] + lengths[d] > pass_tokens) ++p;
    shares.add(p, d, lengths[d]);
  }
  return shares;
}

// Longest first, each into the pass that has least.
Shares most_even(const std::vector<size_t>& longest_first, const std::vector<int64_t>& lengths, size_t passes) {
  Shares shares;
  for (const size_t d : longest_first) {
    const bool opens = shares.passes.size() < passes;
    const auto least = std::min_element(shares.tokens.begin(), shares.tokens.end());
    shares.add(opens ? shares.passes.size() : static_cast<size_t>(least - shares.tokens.begin()), d, lengths[d]);
  }
  return shares;
}

std::vector<std::vector<size_t>> share_out(const std::vector<int32_t>& starts, int64_t pass_tokens, int64_t at_a_time) {
  std::vector<int64_t> lengths;
  for (size_t d = 0; d + 1 < starts.size(); ++d) lengths.push_back(starts[d + 1] - starts[d]);
  std::vector<size_t> order(lengths.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return lengths[a] > lengths[b]; });
  Shares shares = fullest(order, lengths, pass_tokens);
  if (at_a_time > 1 && starts.back() >= at_a_time * kLeastPassTokens) {
    const int64_t wanted = round_up(std::ssize(shares.passes), at_a_time);
    Shares even = most_even(order, lengths, static_cast<size_t>(std::min(wanted, std::ssize(lengths))));
    if (*std::max_element(even.tokens.begin(), even.tokens.end()) <= std::max(pass_tokens, lengths[order.front()])) shares = std::move(even);
  }
  for (auto& pass : shares.passes) std::sort(pass.begin(), pass.end());
  return std::move(shares.passes);
}

PassBatch pass_with(const data::Batch& batch, const std::vector<size_t>& documents) {
  PassBatch pass;
  pass.documents = documents;
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

std::vector<PassBatch> passes_of(const data::Batch& batch, int64_t pass_tokens, int64_t multiple, int64_t at_a_time) {
  std::vector<PassBatch> passes;
  if (batch.document_starts.size() < 2) return passes;
  for (const std::vector<size_t>& documents : share_out(batch.document_starts, pass_tokens, at_a_time)) {
    passes.push_back(pass_with(batch, documents));
    fill_up(passes.back(), multiple);
  }
  return passes;
}

int64_t largest_pass(int64_t batch_tokens, int64_t longest, int64_t pass_tokens, int64_t multiple, int64_t at_a_time) {
  // Into the pass that has least, which has at most its share of the others, goes at most the longest. Too few tokens are not shared out.
  const int64_t even = (batch_tokens + (at_a_time - 1) * longest) / at_a_time;
  const int64_t most = std::max(even, std::min(batch_tokens, at_a_time * kLeastPassTokens - 1));
  return round_up(std::min(at_a_time > 1 ? most : batch_tokens, std::max(pass_tokens, longest)), multiple);
}

}  // namespace nibble::trainer
