// The CUDA runtime calls that the main binary needs, as function pointers of the CUDA module: memory, copies, streams,
// events. Plain C++, no CUDA header. Every function THROWS CudaError, quoting the call that failed, unless it says otherwise.
//
// Streams and events are cudaStream_t and cudaEvent_t as void*; the null stream is the default stream. Pointers are device,
// managed, pinned or ordinary host memory; a copy finds out which (cudaMemcpyDefault).
#pragma once

#include <cstdint>

namespace nibble::gpu {

struct DeviceInfo {
  char name[128];
  int major, minor;          // compute capability
  int multiprocessors;
  int64_t total_bytes;
  int64_t free_bytes;        // at the time of the call
  bool has_managed_memory;   // concurrentManagedAccess: pages move on demand and by prefetch; else use pinned staging
};

inline constexpr int kHost = -1;  // as a location

struct RuntimeTable {
  int (*device_count)();
  DeviceInfo (*device_info)(int device);

  void* (*allocate)(int64_t bytes);           // device memory
  void* (*allocate_managed)(int64_t bytes);
  void (*release)(void* p);                   // of the two above; null is allowed; never throws
  void* (*allocate_pinned)(int64_t bytes);    // host memory that copies without a detour
  void (*release_pinned)(void* p);            // null is allowed; never throws

  void (*copy)(void* to, const void* from, int64_t bytes, void* stream);  // asynchronous
  void (*fill_zero)(void* to, int64_t bytes, void* stream);               // asynchronous
  void (*prefetch)(const void* managed, int64_t bytes, int location, void* stream);  // a device number, or kHost
  void (*prefer)(const void* managed, int64_t bytes, int location);       // cudaMemAdviseSetPreferredLocation

  void* (*create_stream)();                   // does not wait for the default stream
  void (*destroy_stream)(void* stream);       // never throws
  void (*synchronize)(void* stream);
  void* (*create_event)();                    // without timing
  void (*destroy_event)(void* event);         // never throws
  void (*record)(void* event, void* stream);
  void (*wait)(void* stream, void* event);    // the stream waits, not the caller
  bool (*done)(void* event);                  // whether all that was recorded is finished
  void (*wait_on_host)(void* event);          // the caller waits

  void (*memory)(int64_t* free_bytes, int64_t* total_bytes);  // of the current device; what others use is not free

  // A graph is work that was queued once and can be queued again by one call. Between begin_capture and end_capture, what is
  // queued on the stream, and on streams that wait for its events, is recorded and not done. Such streams must be joined to it
  // again by an event; events from before must not be waited for, and nothing may be allocated. Not on the default stream.
  void (*begin_capture)(void* stream);
  void* (*end_capture)(void* stream);         // -> a cudaGraphExec_t
  void (*abandon_capture)(void* stream);      // ends it without a graph; never throws
  void (*replay)(void* graph, void* stream);  // asynchronous
  void (*destroy_graph)(void* graph);         // null is allowed; never throws

  // Has the host call work(context) when it is the stream's turn, in a recording each time that it is replayed, and
  // drop(context) once it will not be called again, or at once where this throws. See gpu/in_order.h. Null where LibTorch's
  // operators queue themselves on the stream, as on every real device.
  void (*call_in_order)(void (*work)(void* context), void (*drop)(void* context), void* context, void* stream);
};

extern const RuntimeTable kRuntimeTable;  // in the module only

}  // namespace nibble::gpu
