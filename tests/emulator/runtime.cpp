// The stand-in for the CUDA runtime: the functions that nibble's .cu files call, with the signatures of CUDA's header. They
// stay inside the emulated module (hidden), since a test's process has the real ones too: LibTorch brings them.
#include <cuda_runtime.h>

#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "gpu/runtime_table.h"
#include "tests/emulator/calls.h"
#include "tests/emulator/launch.h"
#include "tests/emulator/state.h"
#include "tests/emulator/symbols.h"

namespace nibble::emulator {
namespace {

// The last byte of [begin, begin + bytes) belongs to the same allocation as the first, or neither to any.
bool is_one_range(const void* begin, size_t bytes) {
  const Memory& memory = state().memory;
  return bytes == 0 || memory.find(begin) == memory.find(static_cast<const char*>(begin) + bytes - 1);
}

bool is_managed(const void* p) {
  const Allocation* a = state().memory.find(p);
  return a != nullptr && a->kind == MemoryKind::kManaged;
}

class OpenMemory {
 public:
  OpenMemory() { state().memory.set_accessor(Accessor::kCopy); }
  ~OpenMemory() { state().memory.set_accessor(Accessor::kHost); }
};

int number_of(const cudaMemLocation& location) { return location.type == cudaMemLocationTypeHost ? gpu::kHost : location.id; }

cudaError_t allocate(void** p, size_t bytes, MemoryKind kind) {
  *p = state().memory.allocate(kind, static_cast<int64_t>(bytes));
  return *p != nullptr ? cudaSuccess : remember(cudaErrorMemoryAllocation);
}

cudaError_t release(void* p, bool pinned) {
  if (p == nullptr) return cudaSuccess;
  finish_quietly();  // as cudaFree waits for the device
  return state().memory.release(p, pinned) ? cudaSuccess : remember(cudaErrorInvalidValue);
}

}  // namespace

cudaError_t queue_launch(const cudaLaunchConfig_t& config, Launch launch) {
  if (const cudaError_t failure = begin("cudaLaunchKernelEx"); failure != cudaSuccess) return failure;
  Stream* stream = stream_of(config.stream);
  if (stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  const dim3 grid = launch.grid, block = launch.block;
  const bool fits = grid.x > 0 && grid.x <= 2147483647u && grid.y > 0 && grid.y <= 65535 && grid.z == 1 && block.x > 0 &&
                    block.y > 0 && block.z == 1 && uint64_t{block.x} * block.y <= 1024 && config.dynamicSmemBytes == 0;
  if (!fits) return remember(cudaErrorInvalidConfiguration);
  LogEntry made = entry(LogEntry::kLaunch, nullptr, 0);
  made.name = kernel_name(launch.kernel);
  made.blocks = int64_t{grid.x} * grid.y;
  queue_work(*stream, made, [launch = std::move(launch)] { run_grid(launch); });
  return cudaSuccess;
}

}  // namespace nibble::emulator

using namespace nibble::emulator;

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  NIBBLE_BEGIN("cudaGetDeviceCount");
  *count = state().device.count;
  return *count > 0 ? cudaSuccess : remember(cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device) {
  NIBBLE_BEGIN("cudaSetDevice");
  return device >= 0 && device < state().device.count ? cudaSuccess : remember(cudaErrorInvalidDevice);
}

cudaError_t cudaGetDevice(int* device) {
  NIBBLE_BEGIN("cudaGetDevice");
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  NIBBLE_BEGIN("cudaGetDeviceProperties");
  if (device < 0 || device >= state().device.count) return remember(cudaErrorInvalidDevice);
  *properties = {};
  std::strncpy(properties->name, "emulated device", sizeof properties->name - 1);
  properties->major = 8;
  properties->minor = 0;
  properties->multiProcessorCount = 8;
  properties->totalGlobalMem = static_cast<size_t>(state().device.memory_bytes);
  properties->managedMemory = 1;
  properties->concurrentManagedAccess = state().device.concurrent_managed_access ? 1 : 0;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  NIBBLE_BEGIN("cudaMemGetInfo");
  const MemoryUse use = memory_use();
  *total_bytes = static_cast<size_t>(state().device.memory_bytes);
  *free_bytes = *total_bytes - static_cast<size_t>(use.device_bytes + use.managed_on_device_bytes);
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** p, size_t bytes) {
  NIBBLE_BEGIN("cudaMalloc");
  NIBBLE_NOT_WHILE_RECORDING();
  if (bytes == 0) return *p = nullptr, cudaSuccess;
  return allocate(p, bytes, MemoryKind::kDevice);
}

cudaError_t cudaMallocManaged(void** p, size_t bytes, unsigned) {
  NIBBLE_BEGIN("cudaMallocManaged");
  NIBBLE_NOT_WHILE_RECORDING();
  if (bytes == 0) return remember(cudaErrorInvalidValue);
  return allocate(p, bytes, MemoryKind::kManaged);
}

cudaError_t cudaMallocHost(void** p, size_t bytes) {
  NIBBLE_BEGIN("cudaMallocHost");
  NIBBLE_NOT_WHILE_RECORDING();
  if (bytes == 0) return *p = nullptr, cudaSuccess;
  return allocate(p, bytes, MemoryKind::kPinned);
}

cudaError_t cudaFree(void* p) {
  NIBBLE_BEGIN("cudaFree");
  NIBBLE_NOT_WHILE_RECORDING();
  return release(p, false);
}

cudaError_t cudaFreeHost(void* p) {
  NIBBLE_BEGIN("cudaFreeHost");
  NIBBLE_NOT_WHILE_RECORDING();
  return release(p, true);
}

// From ordinary memory the bytes are taken at once, to ordinary memory the call waits: as CUDA does it. Pinned memory is
// read and written when the stream gets there.
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t handle) {
  NIBBLE_BEGIN("cudaMemcpyAsync");
  Stream* stream = stream_of(handle);
  if (stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (!is_one_range(to, bytes) || !is_one_range(from, bytes)) return remember(cudaErrorInvalidValue);
  LogEntry made = entry(LogEntry::kCopy, to, bytes);
  made.from = from;
  const bool to_ordinary = state().memory.find(to) == nullptr;
  if (stream->recording != nullptr && (to_ordinary || state().memory.find(from) == nullptr)) {
    NIBBLE_NOT_WHILE_RECORDING();  // ordinary memory is not where a replay could read or write it
  }
  std::shared_ptr<std::vector<char>> taken;
  if (state().memory.find(from) == nullptr && !to_ordinary && state().device.streams == Streams::kDeferred) {
    const auto* begin = static_cast<const char*>(from);
    taken = std::make_shared<std::vector<char>>(begin, begin + bytes);
  }
  queue_work(*stream, made, [to, from, bytes, taken] {
    const OpenMemory open;
    if (bytes > 0) std::memmove(to, taken ? taken->data() : from, bytes);
  });
  if (to_ordinary) run_all(*stream);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t handle) {
  NIBBLE_BEGIN("cudaMemsetAsync");
  Stream* stream = stream_of(handle);
  if (stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (!is_one_range(to, bytes)) return remember(cudaErrorInvalidValue);
  queue_work(*stream, entry(LogEntry::kFill, to, bytes), [to, value, bytes] {
    if (is_managed(to) && bytes > 0) state().memory.move(to, static_cast<int64_t>(bytes), Home::kDevice);
    const OpenMemory open;
    if (bytes > 0) std::memset(to, value, bytes);
  });
  return cudaSuccess;
}

cudaError_t cudaMemPrefetchAsync(const void* p, size_t bytes, cudaMemLocation location, unsigned, cudaStream_t handle) {
  NIBBLE_BEGIN("cudaMemPrefetchAsync");
  Stream* stream = stream_of(handle);
  if (stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  const int to = number_of(location);
  if (!state().device.concurrent_managed_access || to >= state().device.count) return remember(cudaErrorInvalidDevice);
  if (bytes == 0 || !is_managed(p) || !is_one_range(p, bytes)) return remember(cudaErrorInvalidValue);
  LogEntry made = entry(LogEntry::kPrefetch, p, bytes);
  made.location = to;
  queue_work(*stream, made, [p, bytes, to] {
    state().memory.move(p, static_cast<int64_t>(bytes), to == nibble::gpu::kHost ? Home::kHost : Home::kDevice);
  });
  return cudaSuccess;
}

cudaError_t cudaMemAdvise(const void* p, size_t bytes, cudaMemoryAdvise, cudaMemLocation location) {
  NIBBLE_BEGIN("cudaMemAdvise");
  const int to = number_of(location);
  if (to >= state().device.count || (to >= 0 && !state().device.concurrent_managed_access)) {
    return remember(cudaErrorInvalidDevice);
  }
  if (bytes == 0 || !is_managed(p) || !is_one_range(p, bytes)) return remember(cudaErrorInvalidValue);
  LogEntry made = entry(LogEntry::kAdvise, p, bytes);
  made.location = to;
  made.done = state().work_done++;  // not queued anywhere
  state().log.push_back(made);
  return cudaSuccess;
}

cudaError_t cudaGetLastError() { return static_cast<cudaError_t>(std::exchange(state().last_error, 0)); }

cudaError_t cudaPeekAtLastError() { return static_cast<cudaError_t>(state().last_error); }

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle: return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady: return "cudaErrorNotReady";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    case cudaErrorNotSupported: return "cudaErrorNotSupported";
    case cudaErrorIllegalState: return "cudaErrorIllegalState";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated: return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorStreamCaptureUnjoined: return "cudaErrorStreamCaptureUnjoined";
    case cudaErrorStreamCaptureIsolation: return "cudaErrorStreamCaptureIsolation";
    case cudaErrorCapturedEvent: return "cudaErrorCapturedEvent";
    default: return "cudaErrorUnknown";
  }
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle: return "invalid resource handle";
    case cudaErrorNotReady: return "device not ready";
    case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure: return "unspecified launch failure";
    case cudaErrorNotSupported: return "operation not supported";
    case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureUnjoined: return "capturing stream has unjoined work";
    case cudaErrorStreamCaptureIsolation: return "dependency created on uncaptured work in another stream";
    case cudaErrorCapturedEvent: return "operation not permitted on an event last recorded in a capturing stream";
    default: return "unknown error";
  }
}

}  // extern "C"
