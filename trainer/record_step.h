// Fills and writes the black box of a step that went wrong.
#pragma once

#include <filesystem>
#include <string>

#include "trainer/bad_step.h"
#include "trainer/black_box.h"
#include "trainer/run_inputs.h"
#include "trainer/step_diagnosis.h"
#include "trainer/training_model.h"

namespace nibble::trainer {

// What the record is made from; all of it outlives the call.
struct RecordParts {
  const schema::LoadedConfig& loaded;
  const RunInputs& inputs;
  TrainingModel& training;
  data::BatchStream& batches;
  const StepOptions& options;
  const StopRequest& stop;
};

// What a box says of a step that the trainer has just made, or that is made again: all but what was done about it. `parts.batches` may
// be anywhere.
BlackBox describe_step(const RecordParts& parts, const StepDiagnosis& diagnosis, const BadStep& step);

// -> the folder. THROWS IoError, and what a forward pass throws
std::filesystem::path record_step(const RecordParts& parts, const std::filesystem::path& run_folder, const BadStep& bad);

}  // namespace nibble::trainer
