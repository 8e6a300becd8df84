// Launch lines of the optimizers on CUDA, for the module's table (gpu/module.h).
#pragma once

#include "optim/update_launch.h"

namespace nibble::optim {

struct CudaTable {
  void (*gradient_norm)(const GradientNormLaunch& launch, void* stream);  // gradient_norm_cuda
  void (*begin_step)(const BeginStepLaunch& launch, void* stream);        // begin_step_cuda
  void (*adamw_torch)(const UpdateLaunch& launch, void* stream);          // adamw_torch_cuda
  void (*adamw_bnb)(const UpdateLaunch& launch, void* stream);            // adamw_bnb_cuda
  void (*lion)(const UpdateLaunch& launch, void* stream);                 // lion_cuda
};

extern const CudaTable kCudaTable;  // in the module only

}  // namespace nibble::optim
