#include "optim/adamw_cpu.h"

#include "optim/adamw_math.h"
#include "optim/update_cpu.h"

namespace nibble::optim {

void adamw_torch_cpu(const UpdateSpan& span, const UpdateScalars& scalars, const MomentTables& tables, quant::Isa isa) {
  update_cpu<AdamWTorch>(span, scalars, tables, isa);
}

void adamw_bnb_cpu(const UpdateSpan& span, const UpdateScalars& scalars, const MomentTables& tables, quant::Isa isa) {
  update_cpu<AdamWBnb>(span, scalars, tables, isa);
}

}  // namespace nibble::optim
