// The CUDA module's side of gpu/module.h: the table of tables.
#include "gpu/module.h"
#include "gpu/runtime_table.h"

namespace nibble::quant {
extern const CudaTable kCudaTable;
}
namespace nibble::optim {
extern const CudaTable kCudaTable;
}
namespace nibble::nn {
extern const CudaTable kCudaTable;
}

namespace nibble::gpu {
namespace {

const ModuleTable kTable{kModuleVersion, &kRuntimeTable, &quant::kCudaTable, &optim::kCudaTable, &nn::kCudaTable};

}  // namespace
}  // namespace nibble::gpu

extern "C" __attribute__((visibility("default"))) const nibble::gpu::ModuleTable* nibble_cuda_module() {
  return &nibble::gpu::kTable;
}
