// optimizer.safetensors of a checkpoint: the optimizer's tensors by name and the number of its updates.
//
// For each parameter "<module path>.lora_A.weight" and likewise lora_B: ".master", ".exp_avg" and, with two moments,
// ".exp_avg_sq", fp32 in the parameter's shape. 8-bit moments are uint8 codes of that shape, with ".exp_avg_absmax" and
// ".exp_avg_sq_absmax", fp32, one scale for 256 of them. Metadata: format "nibble-<optim>-1" ("nibble-adamw_8bit-1"), steps
// "<n>". The tensors are stored bit for bit, so that a resumed run continues exactly.
#pragma once

#include <filesystem>

#include "optim/optimizer.h"

namespace nibble::io {

// Streams the state to `path`, one tensor in memory at a time. THROWS IoError
void save_optimizer(const optim::Optimizer& optimizer, const std::filesystem::path& path);

// The same of the state as it was after `steps` updates, from Optimizer::copy_state. On any thread, whatever the optimizer does
// meanwhile. THROWS IoError
void save_optimizer_copy(const optim::Optimizer& optimizer, int64_t steps, const std::byte* copy, const std::filesystem::path& path);

// Overwrites the state of `optimizer` and writes its parameters from the masters. The file must be of the same kind of
// optimizer and hold exactly its tensors; everything is checked before anything is overwritten. THROWS IoError, FormatError
void load_optimizer(optim::Optimizer& optimizer, const std::filesystem::path& path);

}  // namespace nibble::io
