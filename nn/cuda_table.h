// Launch lines of the model's operations on CUDA, for the module's table (gpu/module.h).
#pragma once

namespace nibble::nn {

struct CudaTable {
};

extern const CudaTable kCudaTable;  // in the module only

}  // namespace nibble::nn
