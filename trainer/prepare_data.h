// A configuration's data, ready to look at without the model: what `inspect` and `preprocess` begin with.
#pragma once

#include <string>

#include "data/tokenizer.h"
#include "schema/load.h"
#include "trainer/run_data.h"

namespace nibble::trainer {

struct PreparedData {
  data::Tokenizer tokenizer;
  RunData data;
};

// Says aliases and what the cache does on stderr. doing: "inspecting", for the message where a signal ends it.
// THROWS ConfigError where no train_file is named, Interrupted, what load_run_data throws.
PreparedData prepare_data(const schema::LoadedConfig& loaded, const std::string& doing);

}  // namespace nibble::trainer
