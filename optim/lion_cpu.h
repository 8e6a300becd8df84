// Lion over plain pointers, on the CPU.
#pragma once

#include "optim/moment8_math.h"
#include "optim/update_table.h"
#include "quant/blockwise_cpu.h"

namespace nibble::optim {

// As adamw_bnb_cpu, with one moment.
void lion_cpu(const UpdateSpan& span, const UpdateScalars& scalars, const MomentTables& tables, quant::Isa isa);

}  // namespace nibble::optim
