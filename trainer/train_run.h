// A training run from configuration to last checkpoint: what `train` and `resume` share.
#pragma once

#include "schema/load.h"
#include "trainer/resume.h"

namespace nibble::trainer {

struct TrainOptions {
  ResumeChoice resume;
  bool dry_run = false;                  // stops after the plan
  bool json = false;
  int64_t kill_after_checkpoint = 0;     // trainer/kill_point.h; 0: no
};

// Prints the result (or, with dry_run, the plan) on stdout and returns the exit code.
int train_run(const schema::LoadedConfig& loaded, const TrainOptions& options);

}  // namespace nibble::trainer
