// A tiny model with its optimizer on four documents, for tests of steps and of the loop.
#pragma once

#include <memory>

#include "tests/support/tiny_model.h"
#include "trainer/train_step.h"
#include "trainer/training_model.h"

namespace nibble::test {

// Four documents of unequal length, one a row.
inline data::Dataset four_documents(int64_t vocab) {
  std::vector<data::Sample> samples;
  for (const int32_t n : {9, 17, 5, 22}) {
    const TinyBatch one({n}, vocab, static_cast<uint64_t>(n));
    samples.push_back({one.ids, one.labels});
  }
  return data::Dataset(samples, 32, /*packing=*/false);
}

struct StepBench {
  nn::Model model;
  data::Dataset dataset;
  nn::Pass pass;
  trainer::PassTeam team;
  optim::Optimizer optimizer;
  trainer::StopRequest stop;
  data::BatchStream batches;
  trainer::StepOptions options;

  StepBench(int64_t rows, int64_t accumulation) : StepBench(rows, accumulation, tiny_model({}), {}) {}
  // A model that is at `place` already.
  StepBench(int64_t rows, int64_t accumulation, nn::Model made, const nn::Place& place)
      : model(std::move(made)),
        dataset(four_documents(model.config.vocab_size)),
        pass(model, 64, place),
        team(model, pass),
        optimizer({}, trainer::parameters(model), nullptr, place.queue),
        batches(dataset, rows, 1, false) {
    options.gradient_accumulation_steps = accumulation;
  }
  trainer::StepParts parts() { return {model, team, optimizer, batches, stop}; }
};

// Makes the gradient infinite where the loss stays finite: the last adapter adds nothing, as its A is zero, with a B so large that what
// comes back through it overflows.
inline void break_gradient(nn::Model& model) {
  nn::Lora* last = nullptr;
  model.each_lora([&](const std::string&, nn::Lora& lora) { last = &lora; });
  last->a.zero_();
  last->b.fill_(1e38f);
  model.head.dense.mul_(100.0f);
}

}  // namespace nibble::test
