// Where a run begins: at step 0, or at the checkpoint that it continues.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "data/sampler.h"
#include "trainer/resume.h"
#include "trainer/run_folder.h"
#include "trainer/run_inputs.h"

namespace nibble::trainer {

struct RunStart {
  std::optional<ResumePoint> resumed;
  data::BatchStream batches;  // at the next row to train on
  RunState state;
};

// Finds what to continue, proves that it is the same run, and puts the folder's files and the data's position there.
// `inputs` outlives the result. THROWS what find_resume_point and check_same_run throw.
RunStart start_run(const schema::LoadedConfig& loaded, const ResumeChoice& choice, const RunInputs& inputs, RunFolder& folder,
                   const std::function<void(const std::string&)>& say);

}  // namespace nibble::trainer
