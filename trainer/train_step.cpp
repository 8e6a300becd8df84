#include "trainer/train_step.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/error.h"
#include "nn/lora.h"

namespace nibble::trainer {

int64_t steps_per_epoch(int64_t batches_per_epoch, int64_t gradient_accumulation_steps) {
  return (batches_per_epoch + gradient_accumulation_steps - 1) / gradient_accumulation_steps;
}

std::optional<StepReport> train_step(const StepParts& parts, const StepOptions& options, const RunState& state,
                                     double learning_rate) {
  const auto start = std::chrono::steady_clock::now();
  const data::Cursor position = parts.batches.cursor();
  nn::zero_gradients(parts.model);
  parts.passes.collect();  // what an interrupted step left
  StepReport report;
  const int64_t micro_batches = std::min(options.gradient_accumulation_steps, parts.batches.batches_left_in_epoch());
  std::vector<TeamPass> passes;
  for (int64_t m = 0; m < micro_batches; ++m) {
    const data::Batch batch = parts.batches.next();
    // Dropout masks are drawn for every pass of its own: 2^16 of them in a micro-batch are more than can be.
    uint64_t stream = static_cast<uint64_t>(state.micro_step + m) << 16;
    for (PassBatch& part : passes_of(batch, options.pass_tokens, options.pass_multiple, options.at_a_time)) {
      passes.push_back({std::move(part), {true, options.seed, stream++}});
    }
    report.tokens += batch.tokens();
  }
  for (std::span<const TeamPass> left = passes; !left.empty();) {
    if (parts.stop.requested()) {
      parts.batches.seek(position);
      return std::nullopt;
    }
    if (parts.each) parts.each();
    const size_t count = std::min(left.size(), static_cast<size_t>(parts.passes.members()));
    report.trained_tokens += parts.passes.forward_backward(left.first(count), options.pass).tokens;
    left = left.subspan(count);
  }
  report.micro_batches = micro_batches;
  // On a device all of this is queued; what follows waits for it.
  parts.optimizer.step(learning_rate, report.trained_tokens, options.max_grad_norm);
  report.nll = parts.passes.collect().nll;
  const optim::StepOutcome outcome = parts.optimizer.outcome();
  report.grad_norm = outcome.grad_norm;
  if (!std::isfinite(report.loss()) || !outcome.finite()) {
    throw RunError(fmt::format("step {}: loss {} and gradient norm {} are not finite; nothing was updated. Lower "
                               "learning_rate, or continue from an earlier checkpoint with `nibble resume --from`",
                               state.global_step + 1, report.loss(), report.grad_norm));
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace nibble::trainer
