#include "nn/cuda_table.h"

namespace nibble::nn {

const CudaTable kCudaTable{
    rms_norm_cuda, rms_norm_backward_cuda, rope_cuda,    swiglu_cuda,     swiglu_backward_cuda, cross_entropy_cuda,
    nll_sum_cuda,  copy_rows_cuda,         dropout_cuda, add_scaled_cuda,
};

}  // namespace nibble::nn
