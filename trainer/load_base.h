// The frozen base of a run: from the base's files or its packed cache, to where it is used, resident or streamed.
//
//                       4 bits, to be quantized        4 bits in the files         dense
//   resident            the cache where there is one,  the files                   the files
//                       else quantized from the files
//   streamed, CPU       the cache, made if need be     views of the files          views of the files
//   streamed, device    the same into pinned memory    the files into pinned       refused
//
// On a CPU whatever the files hold as it is wanted is not copied but mapped.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "io/weight_source.h"
#include "nn/model.h"
#include "schema/run_config.h"

namespace nibble::trainer {

struct BaseChoices {
  bool streamed = false;           // layer by layer (base_residency)
  bool offload_embedding = false;  // the embedding stays in host memory; on a CPU it always does
};

// Whether a base can be streamed as this configuration has it: to a GPU in 4 bits; on a CPU from its packed cache, or from its own
// files where they hold the weights as they are used. Reads one weight's header. A planner that may choose asks before it does.
bool can_be_streamed(const io::WeightSource& source, const schema::RunConfig& config, bool on_device);

struct LoadHooks {
  std::function<void(const std::string&)> say;  // lines for people; may be empty
  std::function<void()> each;                   // called with every weight; may throw to stop
};

// REQUIRES a source that outlives the model, and a place that outlives it. THROWS ConfigError where the choices cannot be
// had with this base; IoError where the packed cache that a streamed base needs cannot be written; what loading throws.
nn::Model load_base(const io::WeightSource& source, const schema::RunConfig& config, const BaseChoices& choices, const nn::Place& place,
                    const LoadHooks& hooks);

}  // namespace nibble::trainer
