// The worst step first, as a run makes it: whether, at which shapes, and what is told of it.
#pragma once

#include <functional>
#include <string>

#include "schema/run_config.h"
#include "trainer/accounting.h"
#include "trainer/run_folder.h"
#include "trainer/training_model.h"
#include "trainer/train_step.h"

namespace nibble::trainer {

// worst_step_first. auto: always on a GPU, where a step costs a second; on a CPU, where it costs as long as a step of
// training, only where the plan takes more than half of what there is: a run with so much room to spare does not run out.
bool rehearses(const schema::RunConfig& config, const RunMemory& memory, const nn::Place& place);

// Makes the worst step and tells planned and measured memory by component, on `say` and in the run's log. THROWS Interrupted where
// a stop is requested on the way.
void rehearse(const schema::RunConfig& config, const RunInputs& inputs, const StepOptions& step, TrainingModel& training,
              RunMemory& memory, RunFolder& folder, const StopRequest& stop,
              const std::function<void(const std::string&)>& say);

}  // namespace nibble::trainer
