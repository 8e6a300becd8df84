// A training run from configuration to last checkpoint: what `train` and `resume` share.
#pragma once

#include "schema/load.h"
#include "trainer/resume.h"

namespace nibble::trainer {

// Prints the result (or, with dry_run, the plan) on stdout and returns the exit code.
int train_run(const schema::LoadedConfig& loaded, const ResumeChoice& resume, bool dry_run, bool json);

}  // namespace nibble::trainer
