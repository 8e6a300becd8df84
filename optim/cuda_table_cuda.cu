#include "optim/cuda_table.h"

namespace nibble::optim {

const CudaTable kCudaTable{gradient_norm_cuda, begin_step_cuda, adamw_torch_cuda, adamw_bnb_cuda, lion_cuda};

}  // namespace nibble::optim
