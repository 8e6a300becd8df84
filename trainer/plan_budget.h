// What a run may use where it computes, and what a process takes before its model is loaded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "data/dataset.h"
#include "io/weight_source.h"
#include "nn/model_config.h"
#include "nn/place.h"
#include "schema/run_config.h"

namespace nibble::trainer {

struct Budget {
  int64_t bytes = 0;       // what to plan for
  std::string of;          // "this machine", "max_memory", "this GPU", "a GPU of 8 GB"
  int64_t most_bytes = 0;  // what a plan may not exceed: a run that needs more is refused
};

// On a CPU: max_memory, or a share of what the process may have. Whether the base's files are mapped already matters where the
// process has a limit of address space.
Budget cpu_budget(const schema::RunConfig& config, bool base_is_open);
// On a GPU that is there: max_memory, or what is free, less a reserve.
Budget gpu_budget(const schema::RunConfig& config, const nn::Place& place);
// On a GPU of so many GiB, nominally.
Budget card_budget(double gib);

// A model without its weights.
struct BaseShape {
  nn::ModelConfig model;
  std::optional<quant::QuantConfig> stored;  // where its files hold 4 bits already, whose form is kept
};
// Of what model_name_or_path names, from headers; a folder may have a config.json and no weights. THROWS as
// io::open_weight_source and io::read_hf_config.
BaseShape read_base_shape(const std::string& model_name_or_path);
std::optional<quant::QuantConfig> stored_quant(const io::WeightSource& source);

// Resident memory of this process, once tokenizer and data of this configuration will have been read: what it has now and
// what their files' sizes say. Files that are not there count nothing.
int64_t expected_process_bytes(const schema::RunConfig& config);

// PlanInput::looked_up_bytes: what a run touches of an embedding whose rows have so many bytes. Of rows that were read, exactly; else
// at most, as the tokenizer's file (every token has a place in it) and the run's length say.
int64_t looked_up_bytes(const data::Dataset& train, const data::Dataset& validation, int64_t row_bytes);
int64_t expected_looked_up_bytes(const schema::RunConfig& config, int64_t row_bytes);

}  // namespace nibble::trainer
