// What a step that goes wrong leads to (nan_policy, loss_spike_policy): it is recorded and then left out, or the run goes back to
// its newest checkpoint, or it ends.
//
// A step that is left out is a step of the run all the same: the data, the learning rate's schedule and the numbers of dropout masks
// move on, adapter and optimizer stay as they are, and no sum of losses has it. The steps of a run that goes back come out as they
// did, to the bit, until the bad one, which is passed over: where the machine is to be trusted both policies therefore end in the
// same state. Going back heals what happened to adapter or optimizer in memory.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "schema/enums.h"
#include "trainer/resume.h"
#include "trainer/train_step.h"

namespace nibble::trainer {

struct BadStepRules {
  NanPolicy nan_policy = NanPolicy::kSkip;
  LossSpikePolicy spike_policy = LossSpikePolicy::kWarn;
  double spike_threshold = 8.0;     // standard deviations
  int64_t max_skipped_steps = 5;    // of the whole run
};

// What was done about a step.
enum class Remedy : uint8_t { kTrained, kSkipped, kRewound, kStopped };
const char* remedy_name(Remedy remedy);       // "trained", "skipped", "rewound", "stopped"
const char* fault_name(StepFault fault);      // "none", "loss", "gradient", "spike"

// A step that went wrong, before anything was done about it.
struct BadStep {
  const RunState& before;           // the step is before.global_step + 1
  const StepReport& report;         // a spike that is trained on has no fault there
  StepFault fault;
  Remedy remedy;                    // what will be done
  double learning_rate;
  double spike_limit;               // the largest loss that would have been none
};

// What the surroundings of the loop do. Any may be empty.
struct BadStepHooks {
  // Writes the record; gradients and adapter are those of the step. -> its folder; nullopt where that failed, which was said.
  std::function<std::optional<std::filesystem::path>(const BadStep&)> record;
  std::function<std::vector<std::filesystem::path>()> records;     // all that the run has, oldest first
  std::function<std::optional<ResumePoint>(const RunState&)> find; // the newest good checkpoint of the run so far
  std::function<RunState(const RunState&, const ResumePoint&)> go_back;  // puts all of the run there -> its state
  std::function<void(const std::string&)> say;                     // a line for people, and the log
};

class BadSteps {
 public:
  // All of it outlives this.
  BadSteps(const BadStepRules& rules, const BadStepHooks& hooks, const StepParts& parts) : rules_(rules), hooks_(hooks), parts_(parts) {}

  // Whether the step after `state` was bad once and is to be passed over.
  static bool passes_over(const RunState& state);

  // Whether the update may follow, by the loss alone: false for a spike that is not to be trained on. One that is, is recorded.
  bool allows(const RunState& state, const StepReport& report, double learning_rate) const;

  // Records a step that was not made, and says what is done about it. kSkipped: the caller moves the state on. kRewound: the run is at
  // the checkpoint, and `state` is its state. kStopped: the caller saves where may_save(), and throws error().
  Remedy settle(RunState& state, const StepReport& report, double learning_rate);

  bool may_save() const { return may_save_; }  // the adapter is worth it
  const std::string& error() const { return error_; }

 private:
  std::optional<std::filesystem::path> record(const BadStep& step) const;
  void say(const std::string& text) const;

  const BadStepRules& rules_;
  const BadStepHooks& hooks_;
  const StepParts& parts_;
  bool may_save_ = true;
  std::string error_;
};

// The first parameter with a value that is not finite, and how many it has: "model.layers.0...lora_B.weight has 12 values"; nullopt
// where all are finite. On a device, waits.
std::optional<std::string> broken_parameter(const StepParts& parts);

}  // namespace nibble::trainer
