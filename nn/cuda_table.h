// Launch lines of the model's operations on CUDA, for the module's table (gpu/module.h).
#pragma once

#include "nn/copy_rows_launch.h"
#include "nn/cross_entropy_launch.h"
#include "nn/dropout_launch.h"
#include "nn/elementwise_launch.h"
#include "nn/rms_norm_launch.h"
#include "nn/rope_launch.h"
#include "nn/swiglu_launch.h"

namespace nibble::nn {

// Each entry is the function x_cuda of its x_launch.h, where its meaning stands.
struct CudaTable {
  void (*rms_norm)(const RmsNormLaunch& launch, void* stream);
  void (*rms_norm_backward)(const RmsNormGradLaunch& launch, void* stream);
  void (*rope)(const RopeLaunch& launch, void* stream);
  void (*swiglu)(const SwigluLaunch& launch, void* stream);
  void (*swiglu_backward)(const SwigluGradLaunch& launch, void* stream);
  void (*cross_entropy)(const CrossEntropyLaunch& launch, void* stream);
  void (*nll_sum)(const NllSumLaunch& launch, void* stream);
  void (*copy_rows)(const CopyRowsLaunch& launch, void* stream);
  void (*dropout)(const DropoutLaunch& launch, void* stream);
  void (*add_scaled)(const AddScaledLaunch& launch, void* stream);
};

extern const CudaTable kCudaTable;  // in the module only

}  // namespace nibble::nn
