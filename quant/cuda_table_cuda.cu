#include "quant/cuda_table.h"

namespace nibble::quant {

const CudaTable kCudaTable{dequantize_cuda, quantize_cuda};

}  // namespace nibble::quant
