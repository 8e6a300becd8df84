// Launching a kernel on the emulator: cudaLaunchKernelEx of tests/emulator/device.h, and how a grid is run.
#pragma once

#include <driver_types.h>

#include <cstdint>
#include <functional>
#include <tuple>
#include <utility>

namespace nibble::emulator {

struct Launch {
  const void* kernel = nullptr;
  dim3 grid;
  dim3 block;
  std::function<void()> body;  // the kernel with its arguments, copied when it was launched
};

// Checks the configuration and queues the launch on its stream, or returns why CUDA would refuse it.
cudaError_t queue_launch(const cudaLaunchConfig_t& config, Launch launch);

// As CUDA's function template of the name cudaLaunchKernelEx, which exists for nvcc only.
template <class... Parameters, class... Arguments>
cudaError_t launch_kernel(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments&&... arguments) {
  Launch launch;
  launch.kernel = reinterpret_cast<const void*>(kernel);
  launch.grid = config->gridDim;
  launch.block = config->blockDim;
  launch.body = [kernel, copies = std::tuple<Parameters...>(std::forward<Arguments>(arguments)...)] {
    std::apply(kernel, copies);
  };
  return queue_launch(*config, std::move(launch));
}

// Runs all blocks of a launch, one after the other, now. THROWS KernelFailure naming the kernel.
void run_grid(const Launch& launch);

}  // namespace nibble::emulator
