#include "trainer/placement.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>

#include "core/error.h"
#include "optim/optimizer_config.h"

namespace nibble::trainer {
namespace {

// LibTorch's operators on CUDA register themselves when this is opened; it is found beside libtorch_cpu.
constexpr const char* kTorchCuda = "libtorch_cuda.so";
constexpr int64_t kMib = 1 << 20;

}  // namespace

void* adopt_torch_stream(at::Device device) {
  const c10::impl::VirtualGuardImpl torch(device.type());
  const c10::Stream stream = torch.getStreamFromGlobalPool(device);
  torch.exchangeStream(stream);
  return stream.native_handle();
}

nn::Place choose_place(const schema::RunConfig& config, const std::function<void(const std::string&)>& say) {
  if (config.device == DeviceChoice::kCpu) return {};
  const gpu::ModuleStatus status = gpu::module_status();
  if (config.device == DeviceChoice::kAuto) {
    // CUDA training has passed its tests on an emulated device only: nobody gets it without asking.
    if (status.usable()) say(fmt::format("using the CPU; device: cuda would use {}", status.text));
    return {};
  }
  if (!status.usable()) throw ConfigError(fmt::format("device: cuda, but {}; or set device: cpu", status.text));
  // Else LibTorch's allocator rounds every large tensor up by megabytes, which the plan does not count. The user's own wins.
  setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True", /*overwrite=*/0);
  if (dlopen(kTorchCuda, RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    throw ConfigError(fmt::format("device: cuda, but LibTorch's CUDA library does not load: {}; install the whole torch "
                                  "wheel with its CUDA libraries, or set device: cpu", dlerror()));
  }
  say(fmt::format("using {}", status.text));
  const at::Device device(at::kCUDA, 0);
  nn::Place place;
  place.device = device;
  place.queue = {status.table, adopt_torch_stream(device)};
  return place;
}

std::unique_ptr<optim::PagedArena> paged_memory(const schema::RunConfig& config, const nn::Place& place,
                                                const std::filesystem::path& folder) {
  if (!optim::optimizer_kind(config.optim).paged) return nullptr;
  optim::PagedOptions options;
  options.budget_bytes = config.paged_budget_mib * kMib;
  options.oversubscribe = config.paged_oversubscribe;
  options.folder = folder;
  options.queue = place.queue;
  return std::make_unique<optim::PagedArena>(options);
}

}  // namespace nibble::trainer
