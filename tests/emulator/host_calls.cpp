// Calls of the host's in a stream's order (RuntimeTable::call_in_order), as cudaLaunchHostFunc makes them: what LibTorch computes
// on the emulated device, whose tensors are the CPU's to it. The emulated module is the real one's sources with this added.
#include <memory>

#include "gpu/runtime_table.h"
#include "tests/emulator/calls.h"

extern "C" const nibble::gpu::ModuleTable* nibble_cuda_module();

namespace nibble::emulator {
namespace {

void call_in_order(void (*work)(void*), void (*drop)(void*), void* context, void* handle) {
  // Work that was queued and a recording of it may both hold the context.
  const std::shared_ptr<void> kept(context, drop);
  Stream* stream = stream_of(handle);
  if (stream == nullptr) throw std::invalid_argument("call_in_order: no such stream");
  queue_work(*stream, entry(LogEntry::kCall, nullptr, 0), [work, kept] { work(kept.get()); });
}

}  // namespace
}  // namespace nibble::emulator

namespace nibble::test {

const gpu::ModuleTable* emulated_module() {
  static const gpu::RuntimeTable runtime = [] {
    gpu::RuntimeTable table = *nibble_cuda_module()->runtime;
    table.call_in_order = emulator::call_in_order;
    return table;
  }();
  static const gpu::ModuleTable module = [] {
    gpu::ModuleTable table = *nibble_cuda_module();
    table.runtime = &runtime;
    return table;
  }();
  return &module;
}

}  // namespace nibble::test
