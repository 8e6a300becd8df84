// optimizer.safetensors of a checkpoint: the optimizer's tensors by name, fp32, and the number of its updates.
//
// "<module path>.lora_A.weight.master", ".exp_avg", ".exp_avg_sq" and likewise for lora_B; metadata: format
// "nibble-adamw-1", steps "<n>". The tensors are stored bit for bit, so that a resumed run continues exactly.
#pragma once

#include <filesystem>

#include "optim/adamw.h"

namespace nibble::io {

// Streams the state to `path`. THROWS IoError
void save_optimizer(const optim::AdamW& adamw, const std::filesystem::path& path);

// Overwrites the state of `adamw` and writes its parameters from the masters. The file must hold exactly the tensors
// that the optimizer has; everything is checked before anything is overwritten. THROWS IoError, FormatError
void load_optimizer(optim::AdamW& adamw, const std::filesystem::path& path);

}  // namespace nibble::io
