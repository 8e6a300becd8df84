// What the loop asks of a run: losses of the validation rows, rows of metrics, checkpoints.
#pragma once

#include "schema/load.h"
#include "trainer/accounting.h"
#include "trainer/checkpoint_writer.h"
#include "trainer/run_folder.h"
#include "trainer/train_loop.h"
#include "trainer/training_model.h"

namespace nibble::trainer {

// All of it outlives the hooks.
struct HookParts {
  const schema::LoadedConfig& loaded;
  const RunInputs& inputs;
  RunFolder& folder;
  MetricsLog& metrics;
  TrainingModel& training;
  data::BatchStream& batches;
  const StepOptions& step;
  CheckpointWriter& checkpoints;
  RunMemory& memory;
  Progress& progress;
  const StopRequest& stop;
  int64_t max_steps;
};

LoopHooks run_hooks(const HookParts& parts);

}  // namespace nibble::trainer
