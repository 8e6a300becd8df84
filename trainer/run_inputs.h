// What a run reads: the base's headers, the tokenizer, the rows. Opened before anything large is allocated.
#pragma once

#include <memory>
#include <string>

#include "data/dataset.h"
#include "io/weight_source.h"
#include "schema/load.h"
#include "trainer/memory_plan.h"
#include "trainer/run_state.h"

namespace nibble::trainer {

struct RunInputs {
  std::unique_ptr<io::WeightSource> source;
  data::Tokenizer tokenizer;
  data::Dataset train, validation;   // validation may have no rows
  PlanInput plan;                    // with the recompute level that the run will use
  RunState identity;                 // hashes of base, data, tokenizer and keys; nothing else is set
};

RunInputs open_run_inputs(const schema::RunConfig& config);

// "train: 328 examples (alpaca, chatml) in 41 rows, 12345 tokens, 45% trained", with warnings.
std::vector<std::string> describe_data(const RunInputs& inputs);

}  // namespace nibble::trainer
