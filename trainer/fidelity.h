// How far an exported model is from the one that was trained, on the same tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "nn/model.h"

namespace nibble::trainer {

struct Fidelity {
  int64_t tokens = 0;             // predictions compared
  double kl = 0.0;                // mean KL(trained || exported) of the next-token distributions, nats
  double max_kl = 0.0;
  double top1_agreement = 0.0;    // share of positions where both prefer the same token
  double trained_loss = 0.0;      // mean negative log-likelihood of the text, nats
  double exported_loss = 0.0;
};

// Compares both models on windows of token ids, each on its own. `each` is called before every pass and may throw to stop.
// REQUIRES windows of at least two tokens.
Fidelity compare_models(nn::Model& trained, nn::Model& exported, const std::vector<std::vector<int32_t>>& windows,
                        const std::function<void()>& each = {});

}  // namespace nibble::trainer
