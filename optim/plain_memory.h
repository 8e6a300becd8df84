// State memory that holds everything, all the time: host memory, or a device's.
#pragma once

#include <memory>

#include "gpu/module.h"
#include "optim/state_memory.h"

namespace nibble::optim {

// Host memory without a queue; else device memory, whose contents are ordered by the queue's stream.
std::unique_ptr<StateMemory> plain_memory(const gpu::Queue& queue = {});

}  // namespace nibble::optim
