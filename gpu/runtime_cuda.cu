// The CUDA module's side of gpu/runtime_table.h.
#include <cstring>

#include "gpu/check.h"
#include "gpu/runtime_table.h"

namespace nibble::gpu {
namespace {

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(void* event) { return static_cast<cudaEvent_t>(event); }

cudaMemLocation location_of(int location) {
  cudaMemLocation place{};
  place.type = location == kHost ? cudaMemLocationTypeHost : cudaMemLocationTypeDevice;
  place.id = location == kHost ? 0 : location;
  return place;
}

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
  info.multiprocessors = properties.multiProcessorCount;
  info.has_managed_memory = properties.concurrentManagedAccess != 0;
  NIBBLE_CUDA_CHECK(cudaSetDevice(device));
  size_t free_bytes = 0, total_bytes = 0;
  NIBBLE_CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
  info.free_bytes = static_cast<int64_t>(free_bytes);
  info.total_bytes = static_cast<int64_t>(total_bytes);
  return info;
}

void* allocate(int64_t bytes) {
  void* p = nullptr;
  NIBBLE_CUDA_CHECK(cudaMalloc(&p, static_cast<size_t>(bytes)));
  return p;
}

void* allocate_managed(int64_t bytes) {
  void* p = nullptr;
  NIBBLE_CUDA_CHECK(cudaMallocManaged(&p, static_cast<size_t>(bytes), cudaMemAttachGlobal));
  return p;
}

void release(void* p) { cudaFree(p); }

void* allocate_pinned(int64_t bytes) {
  void* p = nullptr;
  NIBBLE_CUDA_CHECK(cudaMallocHost(&p, static_cast<size_t>(bytes)));
  return p;
}

void release_pinned(void* p) { cudaFreeHost(p); }

void copy(void* to, const void* from, int64_t bytes, void* stream) {
  NIBBLE_CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream_of(stream)));
}

void fill_zero(void* to, int64_t bytes, void* stream) {
  NIBBLE_CUDA_CHECK(cudaMemsetAsync(to, 0, static_cast<size_t>(bytes), stream_of(stream)));
}

void prefetch(const void* managed, int64_t bytes, int location, void* stream) {
  NIBBLE_CUDA_CHECK(cudaMemPrefetchAsync(managed, static_cast<size_t>(bytes), location_of(location), 0, stream_of(stream)));
}

void prefer(const void* managed, int64_t bytes, int location) {
  NIBBLE_CUDA_CHECK(cudaMemAdvise(managed, static_cast<size_t>(bytes), cudaMemAdviseSetPreferredLocation, location_of(location)));
}

void* create_stream() {
  cudaStream_t stream = nullptr;
  NIBBLE_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return stream;
}

void destroy_stream(void* stream) { cudaStreamDestroy(stream_of(stream)); }

void synchronize(void* stream) { NIBBLE_CUDA_CHECK(cudaStreamSynchronize(stream_of(stream))); }

void* create_event() {
  cudaEvent_t event = nullptr;
  NIBBLE_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return event;
}

void destroy_event(void* event) { cudaEventDestroy(event_of(event)); }

void record(void* event, void* stream) { NIBBLE_CUDA_CHECK(cudaEventRecord(event_of(event), stream_of(stream))); }

void wait(void* stream, void* event) { NIBBLE_CUDA_CHECK(cudaStreamWaitEvent(stream_of(stream), event_of(event), 0)); }

bool done(void* event) {
  const cudaError_t state = cudaEventQuery(event_of(event));
  if (state == cudaErrorNotReady) return false;
  if (state != cudaSuccess) throw_cuda_error(state, "cudaEventQuery(event_of(event))", __FILE__, __LINE__);
  return true;
}

void wait_on_host(void* event) { NIBBLE_CUDA_CHECK(cudaEventSynchronize(event_of(event))); }

void memory(int64_t* free_bytes, int64_t* total_bytes) {
  size_t free_now = 0, total = 0;
  NIBBLE_CUDA_CHECK(cudaMemGetInfo(&free_now, &total));
  *free_bytes = static_cast<int64_t>(free_now);
  *total_bytes = static_cast<int64_t>(total);
}

// Thread-local: what other threads do on streams of their own does not spoil the recording.
void begin_capture(void* stream) { NIBBLE_CUDA_CHECK(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal)); }

void* end_capture(void* stream) {
  cudaGraph_t graph = nullptr;
  NIBBLE_CUDA_CHECK(cudaStreamEndCapture(stream_of(stream), &graph));
  cudaGraphExec_t executable = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  if (error != cudaSuccess) throw_cuda_error(error, "cudaGraphInstantiate(&executable, graph, 0)", __FILE__, __LINE__);
  return executable;
}

void abandon_capture(void* stream) {
  cudaGraph_t graph = nullptr;
  if (cudaStreamEndCapture(stream_of(stream), &graph) == cudaSuccess) cudaGraphDestroy(graph);
  cudaGetLastError();  // that it broke off is known
}

void replay(void* graph, void* stream) {
  NIBBLE_CUDA_CHECK(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_of(stream)));
}

void destroy_graph(void* graph) {
  if (graph != nullptr) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph));
}

}  // namespace

const RuntimeTable kRuntimeTable{
    device_count,  device_info,   allocate,        allocate_managed, release,       allocate_pinned, release_pinned,
    copy,          fill_zero,     prefetch,        prefer,           create_stream, destroy_stream,  synchronize,
    create_event,  destroy_event, record,          wait,             done,          wait_on_host,    memory,
    begin_capture, end_capture,   abandon_capture, replay,           destroy_graph,
    /*call_in_order=*/nullptr,
};

}  // namespace nibble::gpu
