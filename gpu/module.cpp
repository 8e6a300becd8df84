#include "gpu/module.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <exception>
#include <system_error>

#include "gpu/runtime_table.h"

namespace nibble::gpu {
namespace {

namespace fs = std::filesystem;

std::string last_dl_error() {
  const char* text = dlerror();
  return text != nullptr ? text : "no reason given";
}

// The driver's own two calls, so that a machine without devices is told from one without a driver before CUDA's runtime
// starts up. CUresult is an int; 0 is success.
struct Driver {
  int (*init)(unsigned) = nullptr;
  int (*device_get_count)(int*) = nullptr;
  int (*get_error_string)(int, const char**) = nullptr;
};

std::string driver_error(const Driver& driver, int result) {
  const char* text = nullptr;
  if (driver.get_error_string != nullptr) driver.get_error_string(result, &text);
  return fmt::format("{} (CUDA driver error {})", text != nullptr ? text : "unknown", result);
}

// Counts devices. Returns "" or why there are none to use.
std::string open_driver(const std::string& name, int& devices) {
  void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return fmt::format("no NVIDIA driver ({}); to use a GPU, install the driver of release 580 or later", last_dl_error());
  }
  Driver driver;
  driver.init = reinterpret_cast<int (*)(unsigned)>(dlsym(library, "cuInit"));
  driver.device_get_count = reinterpret_cast<int (*)(int*)>(dlsym(library, "cuDeviceGetCount"));
  driver.get_error_string = reinterpret_cast<int (*)(int, const char**)>(dlsym(library, "cuGetErrorString"));
  if (driver.init == nullptr || driver.device_get_count == nullptr) {
    return fmt::format("{} is not a CUDA driver: it has no cuInit; reinstall the NVIDIA driver", name);
  }
  if (const int result = driver.init(0); result != 0) {
    return fmt::format("the NVIDIA driver does not start: {}; 'nvidia-smi' should list the GPU", driver_error(driver, result));
  }
  if (const int result = driver.device_get_count(&devices); result != 0) {
    return fmt::format("the NVIDIA driver does not count its GPUs: {}", driver_error(driver, result));
  }
  if (devices == 0) return "the NVIDIA driver sees no GPU; is CUDA_VISIBLE_DEVICES empty?";
  return "";
}

using ModuleEntry = const ModuleTable* (*)();

// Returns "" or why the module cannot be used.
std::string open_module(const fs::path& path, const ModuleTable*& table) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    return fmt::format("a GPU is there, but not the CUDA module {}; build nibble where nvcc is (-DNIBBLE_CUDA=ON)",
                       path.string());
  }
  // Never closed: CUDA does not survive it.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return fmt::format("the CUDA module does not load: {}", last_dl_error());
  const auto entry = reinterpret_cast<ModuleEntry>(dlsym(library, kModuleSymbol));
  if (entry == nullptr) return fmt::format("{} is not nibble's CUDA module: it has no {}", path.string(), kModuleSymbol);
  table = entry();
  const std::string mismatch = table_mismatch(table);
  if (mismatch.empty()) return "";
  table = nullptr;
  return fmt::format("{}: {}", path.string(), mismatch);
}

}  // namespace

fs::path default_module_path() {
  std::error_code error;
  const fs::path binary = fs::read_symlink("/proc/self/exe", error);
  if (error) return kModuleFile;
  const fs::path beside = binary.parent_path() / kModuleFile;
  if (fs::exists(beside, error)) return beside;
  return (binary.parent_path().parent_path() / "lib" / kModuleFile).lexically_normal();
}

std::string table_mismatch(const ModuleTable* table) {
  if (table == nullptr) return "the module handed back nothing; rebuild it";
  if (table->version != kModuleVersion) {
    return fmt::format("the module has version {}, this binary needs {}; install both from one build", table->version,
                       kModuleVersion);
  }
  return "";
}

ModuleStatus module_status(const fs::path& module_path, const std::string& driver) {
  ModuleStatus status;
  status.text = open_driver(driver, status.devices);
  if (!status.text.empty()) return status;
  const ModuleTable* table = nullptr;
  status.text = open_module(module_path, table);
  if (!status.text.empty()) return status;
  try {
    status.devices = table->runtime->device_count();
    const DeviceInfo info = table->runtime->device_info(0);
    status.text = fmt::format("{} GPU(s); 0: {}, compute capability {}.{}, {:.1f} of {:.1f} GiB free", status.devices,
                              info.name, info.major, info.minor, static_cast<double>(info.free_bytes) / (1 << 30),
                              static_cast<double>(info.total_bytes) / (1 << 30));
    status.table = table;
  } catch (const std::exception& error) {
    status.text = fmt::format("a GPU is there, but does not start: {}", error.what());
  }
  return status;
}

}  // namespace nibble::gpu
