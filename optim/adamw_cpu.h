// AdamW over plain pointers, on the CPU.
#pragma once

#include "optim/moment8_math.h"
#include "optim/update_table.h"
#include "quant/blockwise_cpu.h"

namespace nibble::optim {

// Updates a chunk of one parameter: its moments, fp32 or 8-bit, its master and the parameter itself. Any instruction set
// gives the same bits. REQUIRES an isa that this CPU has; two moments; tables only where the state has 8 bits.
void adamw_torch_cpu(const UpdateSpan& span, const UpdateScalars& scalars, const MomentTables& tables, quant::Isa isa);
void adamw_bnb_cpu(const UpdateSpan& span, const UpdateScalars& scalars, const MomentTables& tables, quant::Isa isa);

}  // namespace nibble::optim
