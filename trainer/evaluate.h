// Loss on text that is not trained on. One protocol everywhere: sums over tokens, windows scored each on its own.
#pragma once

#include <functional>
#include <span>

#include "data/dataset.h"
#include "nn/model.h"

namespace nibble::trainer {

struct Score {
  int64_t tokens = 0;  // scored
  double nll = 0.0;    // sum, nats

  double loss() const;        // mean, nats; NaN where nothing was scored
  double perplexity() const;  // exp(loss)
};

// Cuts the ids into windows of `window` tokens, the last one shorter, and scores each as a document of its own: its first
// token is not scored. `each` is called after every window and may throw to stop.
Score score_windows(nn::Pass& pass, std::span<const int32_t> ids, int64_t window, int64_t loss_chunk_tokens,
                    const std::function<void(int64_t done, int64_t total)>& each = {});

// Scores the labelled tokens of every row, in the order of the data. `each` is called on the way and may throw to stop.
Score score_rows(nn::Pass& pass, const data::Dataset& rows, int64_t rows_per_batch, int64_t loss_chunk_tokens,
                 const std::function<void()>& each = {});

}  // namespace nibble::trainer
