// The CUDA module's side of gpu/module.h: the table of launch lines.
#include <cstring>

#include "gpu/check.h"
#include "gpu/module.h"

namespace nibble::quant {
void dequantize_cuda(const DequantizeLaunch& launch, void* stream);
}

namespace nibble::gpu {
namespace {

int device_count() {
  int count = 0;
  NIBBLE_CUDA_CHECK(cudaGetDeviceCount(&count));
  return count;
}

DeviceInfo device_info(int device) {
  cudaDeviceProp properties;
  NIBBLE_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  DeviceInfo info{};
  std::memcpy(info.name, properties.name, sizeof info.name - 1);  // theirs is longer
  info.major = properties.major;
  info.minor = properties.minor;
  info.has_managed_memory = properties.concurrentManagedAccess != 0;
  NIBBLE_CUDA_CHECK(cudaSetDevice(device));
  size_t free_bytes = 0, total_bytes = 0;
  NIBBLE_CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
  info.free_bytes = static_cast<int64_t>(free_bytes);
  info.total_bytes = static_cast<int64_t>(total_bytes);
  return info;
}

constexpr ModuleTable kTable{kModuleVersion, device_count, device_info, quant::dequantize_cuda};

}  // namespace
}  // namespace nibble::gpu

extern "C" __attribute__((visibility("default"))) const nibble::gpu::ModuleTable* nibble_cuda_module() {
  return &nibble::gpu::kTable;
}
