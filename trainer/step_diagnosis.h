// Where a step goes wrong: the same passes once more, forward only and one after the other, with every layer's output looked at, and
// the gradients and adapters as they are.
//
// Dropout masks are functions of counters, so on a CPU the second forward pass computes what the first did to the bit. It works in the
// memory that the step had: one layer's output after the other.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/tensor_stats.h"
#include "trainer/train_step.h"

namespace nibble::trainer {

struct NamedStats {
  std::string name;   // "embedding", "layers.3", "norm" (the final one), or a parameter's
  TensorStats stats;
};

struct PassLoss {
  int64_t tokens = 0;          // those that fill it up included
  int64_t trained_tokens = 0;
  double nll = 0.0;            // sum, nats
};

// The first thing that is not finite, in the order in which they are computed: the adapter's weights, each pass's hidden states from
// the embedding up, its loss, the gradients from the last layer down.
struct FirstWrong {
  std::string what;                  // "hidden states", "loss", "gradient" or "adapter"
  std::string name;                  // of NamedStats; "" with a loss
  std::optional<int64_t> pass;       // from 1
  std::optional<int64_t> document;   // of StepPasses::documents, from 0; not of a token that fills up
  std::optional<int64_t> token;      // in the document, from 0
};

struct StepDiagnosis {
  StepPasses step;                       // what went through the model
  std::vector<PassLoss> passes;
  std::vector<NamedStats> hidden;        // L + 2, all passes together
  std::vector<NamedStats> gradients, adapter;  // by parameter; gradients are sums over the trained tokens
  std::optional<FirstWrong> first_wrong;

  double loss() const;       // mean over the trained tokens, nats
  double grad_norm() const;  // of the mean gradient per trained token
};

// Of the step after `before`, whose gradients are in the model. Data position, optimizer and gradients stay as they are.
StepDiagnosis diagnose_step(const StepParts& parts, const StepOptions& options, const RunState& before);

// "NaN or infinity first in the hidden states of layers.3: pass 1, token 5 of document 2"
std::string first_wrong_text(const FirstWrong& wrong);

}  // namespace nibble::trainer
