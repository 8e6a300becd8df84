// What the planner may choose for a run: where things live and what is rebuilt instead of kept. None of it changes a number
// of a run but loss_chunk_tokens, which a resumed run therefore keeps.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nn/recompute.h"
#include "schema/enums.h"

namespace nibble::trainer {

struct MemoryChoices {
  std::vector<nn::RecomputePolicy> recompute;  // one a layer
  int64_t loss_chunk_tokens = 256;             // rows of logits held at a time
  bool streamed = false;                       // the base comes layer by layer (base_residency)
  bool offload_embedding = false;              // the embedding stays in host memory, on a CPU in its file
  int64_t paged_budget_bytes = 0;              // resident at most of a paged optimizer's state; 0: all of it
  int64_t parallel_passes = 1;                 // of a step at a time, each on one core (trainer/pass_team.h)
  bool background_save = false;                // checkpoints are written from a copy (trainer/checkpoint_writer.h)

  bool operator==(const MemoryChoices& other) const;
};

// Keys that the configuration decides; what has no value here is the planner's to choose.
struct FixedChoices {
  std::optional<Recompute> recompute;
  std::optional<int64_t> loss_chunk_tokens;
  std::optional<bool> streamed;
  std::optional<bool> offload_embedding;
  std::optional<int64_t> paged_budget_bytes;
  std::optional<int64_t> parallel_passes;
  std::optional<bool> background_save;
};

// Every layer at one level.
std::vector<nn::RecomputePolicy> every_layer(int64_t layers, Recompute level);

// "none", or "layer in 12 layers, none in 20".
std::string recompute_text(const std::vector<nn::RecomputePolicy>& recompute);
// The whole choice in one line: "recompute layer in 12 layers, none in 20; embedding in host memory; loss in chunks of 256".
std::string choices_text(const MemoryChoices& choices);

// One JSON object, for checkpoints and reports. {"recompute": {"none": 20, "layer": 12}, "loss_chunk_tokens": 256, ...}
std::string choices_json(const MemoryChoices& choices);
// The loss chunk of a text of choices_json. nullopt where it is empty or not of that form.
std::optional<int64_t> stored_loss_chunk(const std::string& json);

}  // namespace nibble::trainer
