#include "trainer/train_step.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/round_up.h"
#include "nn/lora.h"

namespace nibble::trainer {

int64_t steps_per_epoch(int64_t batches_per_epoch, int64_t gradient_accumulation_steps) {
  return ceil_div(batches_per_epoch, gradient_accumulation_steps);
}

StepPasses take_step(data::BatchStream& batches, const StepOptions& options, int64_t micro_step) {
  StepPasses step;
  step.micro_batches = std::min(options.gradient_accumulation_steps, batches.batches_left_in_epoch());
  for (int64_t m = 0; m < step.micro_batches; ++m) {
    const size_t first = step.documents.size();
    const std::vector<int64_t> documents = batches.next_documents();
    step.documents.insert(step.documents.end(), documents.begin(), documents.end());
    const data::Batch batch = batches.next();
    // Dropout masks are drawn for every pass of its own: 2^16 of them in a micro-batch are more than can be.
    uint64_t stream = static_cast<uint64_t>(micro_step + m) << 16;
    for (PassBatch& part : passes_of(batch, options.pass_tokens, options.pass_multiple, options.at_a_time)) {
      for (size_t& document : part.documents) document += first;
      step.passes.push_back({std::move(part), {true, options.seed, stream++}});
    }
    step.tokens += batch.tokens();
  }
  return step;
}

std::optional<StepReport> train_step(const StepParts& parts, const StepOptions& options, const RunState& state,
                                     double learning_rate, const StepCheck& check) {
  const auto start = std::chrono::steady_clock::now();
  const data::Cursor position = parts.batches.cursor();
  nn::zero_gradients(parts.model);
  parts.passes.collect();  // what an interrupted step left
  StepReport report;
  const StepPasses step = take_step(parts.batches, options, state.micro_step);
  report.tokens = step.tokens;
  report.micro_batches = step.micro_batches;
  for (std::span<const TeamPass> left = step.passes; !left.empty();) {
    if (parts.stop.requested()) {
      parts.batches.seek(position);
      return std::nullopt;
    }
    if (parts.each) parts.each();
    const size_t count = std::min(left.size(), static_cast<size_t>(parts.passes.members()));
    report.trained_tokens += parts.passes.forward_backward(left.first(count), options.pass).tokens;
    left = left.subspan(count);
  }
  // On a device all of this is queued; collecting the loss waits for it. The update is not queued with it: a loss can be infinite
  // where the gradient is finite, and what is found wrong only afterwards would have been applied.
  report.nll = parts.passes.collect().nll;
  if (!std::isfinite(report.loss())) {
    report.fault = StepFault::kLoss;
  } else if (check && !check(report)) {
    report.fault = StepFault::kSpike;
  } else {
    parts.optimizer.step(learning_rate, report.trained_tokens, options.max_grad_norm);
    const optim::StepOutcome outcome = parts.optimizer.outcome();
    report.grad_norm = outcome.grad_norm;
    if (!outcome.finite()) {
      report.fault = StepFault::kGradient;
      parts.optimizer.go_on();
    }
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace nibble::trainer
