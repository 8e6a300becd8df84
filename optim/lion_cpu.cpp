#include "optim/lion_cpu.h"

#include "optim/lion_math.h"
#include "optim/update_cpu.h"

namespace nibble::optim {

void lion_cpu(const UpdateSpan& span, const UpdateScalars& scalars, const MomentTables& tables, quant::Isa isa) {
  update_cpu<Lion>(span, scalars, tables, isa);
}

}  // namespace nibble::optim
