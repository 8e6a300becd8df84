#include "nn/cuda_table.h"

namespace nibble::nn {

const CudaTable kCudaTable{};

}  // namespace nibble::nn
