#include "optim/cuda_table.h"

namespace nibble::optim {

const CudaTable kCudaTable{};

}  // namespace nibble::optim
