// Launch lines of the optimizers on CUDA, for the module's table (gpu/module.h).
#pragma once

namespace nibble::optim {

struct CudaTable {
};

extern const CudaTable kCudaTable;  // in the module only

}  // namespace nibble::optim
