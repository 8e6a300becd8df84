#include "trainer/evaluate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "data/sampler.h"
#include "trainer/token_batch.h"

namespace nibble::trainer {
namespace {

void add(Score& score, const nn::LossSum& sum) {
  score.nll += sum.nll;
  score.tokens += sum.tokens;
}

}  // namespace

double Score::loss() const {
  return tokens == 0 ? std::numeric_limits<double>::quiet_NaN() : nll / static_cast<double>(tokens);
}

double Score::perplexity() const { return std::exp(loss()); }

Score score_windows(nn::Pass& pass, std::span<const int32_t> ids, int64_t window, int64_t loss_chunk_tokens,
                    const std::function<void(int64_t, int64_t)>& each) {
  Score score;
  pass.collect();  // what others left
  nn::PassOptions options;
  options.loss_chunk_tokens = loss_chunk_tokens;
  std::vector<int32_t> positions(static_cast<size_t>(std::min<int64_t>(window, static_cast<int64_t>(ids.size()))));
  std::iota(positions.begin(), positions.end(), 0);
  const auto total = static_cast<int64_t>(ids.size());
  for (int64_t begin = 0; begin + 1 < total; begin += window) {
    const auto n = static_cast<size_t>(std::min(window, total - begin));
    const std::span<const int32_t> part = ids.subspan(static_cast<size_t>(begin), n);
    const std::array<int32_t, 2> document{0, static_cast<int32_t>(n)};
    pass.forward_loss({part, part, std::span(positions).first(n), document}, options);
    add(score, pass.collect());
    if (each) each(begin + static_cast<int64_t>(n), total);
  }
  return score;
}

Score score_rows(nn::Pass& pass, const data::Dataset& rows, int64_t rows_per_batch, int64_t loss_chunk_tokens,
                 const std::function<void()>& each) {
  Score score;
  pass.collect();
  nn::PassOptions options;
  options.loss_chunk_tokens = loss_chunk_tokens;
  const PassSize size = pass_size(pass.place());
  data::BatchStream batches(rows, rows_per_batch, /*seed=*/0, /*shuffle=*/false);
  for (int64_t i = batches.batches_per_epoch(); i > 0; --i) {
    const data::Batch batch = batches.next();
    for (const PassBatch& part : passes_of(batch, size.tokens, size.multiple)) {
      pass.forward_loss(part.view(), options);
      add(score, pass.collect());
      if (each) each();
    }
  }
  return score;
}

}  // namespace nibble::trainer
