// The tables of 8-bit moments (optim/moment8_math.h), made from the dynamic maps of quant/codebook.h.
#pragma once

#include "optim/moment8_math.h"

namespace nibble::optim {

// As quant::dynamic_code decides, for every fp32 value. The same object always.
const MomentTables& moment_tables();

}  // namespace nibble::optim
