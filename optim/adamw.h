// The optimizers under the name that they had when there was one, for units that have not moved to optim/optimizer.h yet.
#pragma once

#include "optim/optimizer.h"

namespace nibble::optim {

using AdamW = Optimizer;
using AdamWConfig = OptimizerConfig;

}  // namespace nibble::optim
