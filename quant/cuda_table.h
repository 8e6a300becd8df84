// Launch lines of blockwise coding on CUDA, for the module's table (gpu/module.h).
#pragma once

#include "quant/blockwise_launch.h"

namespace nibble::quant {

struct CudaTable {
  void (*dequantize)(const DequantizeLaunch& launch, void* stream);  // dequantize_cuda
  void (*quantize)(const QuantizeLaunch& launch, void* stream);      // quantize_cuda
};

extern const CudaTable kCudaTable;  // in the module only

}  // namespace nibble::quant
