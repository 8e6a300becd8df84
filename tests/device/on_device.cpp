// The tests of the CUDA kernels on a real device: a library that takes the emulator's place when it is loaded before it.
//
//   LD_PRELOAD=lib/libnibble_cuda_on_device.so bin/nn_cuda_tests       (scripts/gpu_check.sh does this)
//
// The same parity tests then call the real module (libnibble_cuda.so). They expect a device whose memory the host can touch
// and whose work is done when it is queued, so: what they allocate, LibTorch's CPU tensors included, is managed memory,
// launches block, copies are waited for. What only an emulator can do (failing a call, a log) throws; those tests are left out
// (scripts/gpu_check.py lists them).
#include <c10/core/CPUAllocator.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "core/error.h"
#include "gpu/module.h"
#include "gpu/runtime_table.h"
#include "tests/emulator/emulator.h"

namespace nibble::test {
namespace {

const gpu::ModuleTable& real_module() {
  static const gpu::ModuleStatus status = gpu::module_status();
  if (!status.usable()) throw RunError("the tests were to run on a GPU, but " + status.text);
  return *status.table;
}

const gpu::RuntimeTable& real() { return *real_module().runtime; }

bool stage_state = false;  // as if the device had no concurrentManagedAccess

const gpu::RuntimeTable& test_runtime() {
  static const gpu::RuntimeTable table = [] {
    gpu::RuntimeTable t = real();
    t.allocate = t.allocate_managed;
    t.device_info = [](int device) {
      gpu::DeviceInfo info = real().device_info(device);
      if (stage_state) info.has_managed_memory = false;
      return info;
    };
    t.copy = [](void* to, const void* from, int64_t bytes, void* stream) {
      real().copy(to, from, bytes, stream);
      real().synchronize(stream);
    };
    t.fill_zero = [](void* to, int64_t bytes, void* stream) {
      real().fill_zero(to, bytes, stream);
      real().synchronize(stream);
    };
    return t;
  }();
  return table;
}

// LibTorch's CPU tensors in memory that kernels reach.
class ManagedAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes > 0 ? real().allocate_managed(static_cast<int64_t>(bytes)) : nullptr;
    return {data, data, &release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }

 private:
  static void release(void* data) { real().release(data); }
};

__attribute__((constructor)) void prepare() {
  setenv("CUDA_LAUNCH_BLOCKING", "1", 1);  // before CUDA starts
  if (!gpu::module_status().usable()) return;  // the tests say why when they ask for the module
  static ManagedAllocator allocator;
  c10::SetCPUAllocator(&allocator);
}

}  // namespace

const gpu::ModuleTable* emulated_module() {
  static const gpu::ModuleTable table = [] {
    gpu::ModuleTable t = real_module();
    t.runtime = &test_runtime();
    return t;
  }();
  return &table;
}

}  // namespace nibble::test

namespace nibble::emulator {
namespace {

[[noreturn]] void refuse(const char* what) {
  throw std::logic_error(std::string("a device has no ") + what + ": name this test in EMULATOR_ONLY of scripts/gpu_check.py");
}

}  // namespace

void reset(const Device& device) { test::stage_state = !device.concurrent_managed_access; }
std::string leaks() { return ""; }                // compute-sanitizer's business
MemoryUse memory_use() { return {}; }
void clear_log() {}
void run_stream(int) {}                           // a device does queued work on its own
void fail_call(const std::string&, int, int) { refuse("injected failures"); }
int64_t calls(const std::string&) { refuse("count of calls"); }
const std::vector<LogEntry>& log() { refuse("log"); }

CheckedLaunches::CheckedLaunches() = default;
CheckedLaunches::~CheckedLaunches() = default;
Watch::Watch(void* data, int64_t) : data_(data) {}
Watch::~Watch() = default;

}  // namespace nibble::emulator
