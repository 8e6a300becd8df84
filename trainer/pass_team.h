// Several passes of a step at a time, each on a core of its own.
//
// On a CPU, cores that share a pass meet after every product and every loop, thousands of times a step, and each time the slower
// one is waited for. Passes of one step depend on one another by the sum of their gradients only: where a step has as many as
// there are cores, each core takes one, and they meet once. The price is a workspace and gradients for each.
//
// Gradients are added in the order of the passes, and a pass adds to a gradient once (but with the MLP in chunks): the result is
// that of one pass after the other to the bit.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "nn/model.h"
#include "trainer/token_batch.h"

namespace nibble::trainer {

// A pass of a step, with what only it has.
struct TeamPass {
  PassBatch batch;
  nn::DropoutContext dropout;
};

class PassTeam {
 public:
  // `first` is on `model`. The other members share its weights and adapters and have gradients of their own. REQUIRES one member,
  // or a model on the CPU whose weights stay where they are (no BaseFeed); both outlive the team.
  PassTeam(nn::Model& model, nn::Pass& first, int64_t members = 1);
  ~PassTeam();

  nn::Pass& first() { return first_; }
  int64_t members() const { return 1 + static_cast<int64_t>(others_.size()); }
  void each(const std::function<void(nn::Pass&)>& visit);

  // Adds the gradients of the summed losses to the model's, members() passes at a time. What they have in common is in `options`,
  // whose dropout is not used. -> the sum; on a device nll is NaN, and collect() has it. THROWS as nn::Pass::forward_backward
  nn::LossSum forward_backward(std::span<const TeamPass> passes, const nn::PassOptions& options);

  // The losses of all calls since the last collect(). On a device, waits for them.
  nn::LossSum collect();

 private:
  struct Member;
  nn::LossSum round(std::span<const TeamPass> passes, const nn::PassOptions& options);
  void add_gradients(size_t members);

  nn::Model& model_;
  nn::Pass& first_;
  std::vector<std::unique_ptr<Member>> others_;
  nn::LossSum collected_;
};

}  // namespace nibble::trainer
