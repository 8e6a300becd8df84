#include "trainer/bad_step.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "trainer/loss_watch.h"
#include "trainer/tensor_stats.h"

namespace nibble::trainer {
namespace {

Remedy remedy_of(NanPolicy policy) {
  switch (policy) {
    case NanPolicy::kSkip: return Remedy::kSkipped;
    case NanPolicy::kStop: return Remedy::kStopped;
    case NanPolicy::kRewind: return Remedy::kRewound;
  }
  return Remedy::kStopped;
}

Remedy remedy_of(LossSpikePolicy policy) {
  switch (policy) {
    case LossSpikePolicy::kNone:
    case LossSpikePolicy::kWarn: return Remedy::kTrained;
    case LossSpikePolicy::kSkip: return Remedy::kSkipped;
    case LossSpikePolicy::kStop: return Remedy::kStopped;
    case LossSpikePolicy::kRewind: return Remedy::kRewound;
  }
  return Remedy::kStopped;
}

// "step 12: the gradient's norm is nan, and the loss 1.2345"
std::string what_happened(const BadStep& step) {
  const std::string number = fmt::format("step {}", step.before.global_step + 1);
  const double loss = std::fabs(step.report.loss()), grad_norm = std::fabs(step.report.grad_norm);  // a NaN's sign says nothing
  switch (step.fault) {
    case StepFault::kNone: break;
    case StepFault::kLoss: return fmt::format("{}: the loss is {}, not finite", number, loss);
    case StepFault::kGradient: return fmt::format("{}: the gradient's norm is {}, not finite (the loss is {:.4f})", number, grad_norm, loss);
    case StepFault::kSpike:
      return fmt::format("{}: the loss is {:.4f}, far above those before it (mean {:.4f}, limit {:.4f})", number, loss,
                         step.before.loss_watch.mean, step.spike_limit);
  }
  return number;
}

const char* policy_key(StepFault fault) { return fault == StepFault::kSpike ? "loss_spike_policy" : "nan_policy"; }

// Those that the run left out, or will once it comes to them again, if the next one is left out too.
int64_t left_out_with_next(const RunState& state) {
  const auto ahead = std::count_if(state.left_out_steps.begin(), state.left_out_steps.end(),
                                   [&](int64_t step) { return step > state.global_step; });
  return state.skipped_steps + static_cast<int64_t>(ahead) + 1;
}

}  // namespace

const char* remedy_name(Remedy remedy) {
  switch (remedy) {
    case Remedy::kTrained: return "trained";
    case Remedy::kSkipped: return "skipped";
    case Remedy::kRewound: return "rewound";
    case Remedy::kStopped: return "stopped";
  }
  return "";
}

const char* fault_name(StepFault fault) {
  switch (fault) {
    case StepFault::kNone: return "none";
    case StepFault::kLoss: return "loss";
    case StepFault::kGradient: return "gradient";
    case StepFault::kSpike: return "spike";
  }
  return "";
}

bool BadSteps::passes_over(const RunState& state) {
  return std::count(state.left_out_steps.begin(), state.left_out_steps.end(), state.global_step + 1) > 0;
}

void BadSteps::say(const std::string& text) const {
  if (hooks_.say) hooks_.say(text);
}

std::optional<std::filesystem::path> BadSteps::record(const BadStep& step) const {
  const auto folder = hooks_.record ? hooks_.record(step) : std::nullopt;
  if (folder) say(fmt::format("recorded in {}: `nibble train --replay {}` makes the step again and shows where it goes wrong", folder->string(), folder->string()));
  return folder;
}

bool BadSteps::allows(const RunState& state, const StepReport& report, double learning_rate) const {
  if (rules_.spike_policy == LossSpikePolicy::kNone) return true;
  const double limit = spike_limit(state.loss_watch, rules_.spike_threshold);
  if (report.loss() <= limit) return true;
  if (rules_.spike_policy != LossSpikePolicy::kWarn) return false;
  const BadStep step{state, report, StepFault::kSpike, Remedy::kTrained, learning_rate, limit};
  say(fmt::format("warning: {}; it is trained on all the same (loss_spike_policy: warn)", what_happened(step)));
  record(step);
  return true;
}

Remedy BadSteps::settle(RunState& state, const StepReport& report, double learning_rate) {
  const bool spike = report.fault == StepFault::kSpike;
  BadStep step{state, report, report.fault, spike ? remedy_of(rules_.spike_policy) : remedy_of(rules_.nan_policy), learning_rate,
               spike_limit(state.loss_watch, rules_.spike_threshold)};
  const std::optional<std::string> broken = broken_parameter(parts_);
  const int64_t left_out = left_out_with_next(state);
  std::optional<ResumePoint> point;
  std::string what = what_happened(step), why = fmt::format("{}: stop", policy_key(report.fault)), note;
  if (step.remedy == Remedy::kRewound) {
    if (hooks_.find) point = hooks_.find(state);
    if (!point) {
      step.remedy = Remedy::kSkipped;
      note = " (there is no checkpoint to go back to)";
    }
  }
  if (step.remedy != Remedy::kStopped && left_out > rules_.max_skipped_steps) {
    step.remedy = Remedy::kStopped;
    why = fmt::format("max_skipped_steps: {} are left out already", rules_.max_skipped_steps);
  }
  if (broken) {
    what += fmt::format("; the adapter itself is no longer finite: {}", *broken);
    if (step.remedy == Remedy::kSkipped) {
      step.remedy = Remedy::kStopped;
      why = "no later step can be better";
    }
  }
  switch (step.remedy) {
    case Remedy::kTrained:
    case Remedy::kStopped: break;
    case Remedy::kSkipped:
      say(fmt::format("{}; its update is left out{} ({} of at most {})", what, note, left_out, rules_.max_skipped_steps));
      break;
    case Remedy::kRewound:
      say(fmt::format("{}; going back to {}, and leaving it out on the way ({} of at most {})", what, point->checkpoint.filename().string(),
                      left_out, rules_.max_skipped_steps));
      break;
  }
  if (step.remedy == Remedy::kStopped) say(fmt::format("{}; the run ends ({})", what, why));
  record(step);
  if (step.remedy == Remedy::kStopped) {
    may_save_ = !broken;
    error_ = fmt::format("{}; nothing was updated, and the run ends ({}).", what, why);
    if (hooks_.records) {
      std::string names;
      for (const auto& folder : hooks_.records()) names += (names.empty() ? "" : ", ") + folder.string();
      if (!names.empty()) error_ += fmt::format(" Recorded: {}; look at it with `nibble train --replay`.", names);
    }
    error_ += " Then correct the data, lower learning_rate, or set nan_policy, loss_spike_policy or max_skipped_steps otherwise, and continue";
    error_ += broken ? " an earlier checkpoint with `nibble resume --from`" : " with --resume";
  }
  if (step.remedy != Remedy::kRewound) return step.remedy;
  std::vector<int64_t> to_leave_out = state.left_out_steps;
  to_leave_out.push_back(state.global_step + 1);
  std::sort(to_leave_out.begin(), to_leave_out.end());
  state = hooks_.go_back(state, *point);
  std::erase_if(to_leave_out, [&](int64_t passed) { return passed <= state.global_step; });
  state.left_out_steps = std::move(to_leave_out);
  return Remedy::kRewound;
}

std::optional<std::string> broken_parameter(const StepParts& parts) {
  const nn::Place& place = parts.passes.first().place();
  for (const optim::ParamRef& p : parts.optimizer.params()) {
    if (!all_finite(p.param, place)) return fmt::format("{} has {} such values", p.name, tensor_stats(p.param, place).non_finite);
  }
  return std::nullopt;
}

}  // namespace nibble::trainer
