// The stand-in for the CUDA runtime's streams, events and graphs (tests/emulator/runtime.cpp has the rest).
#include <cuda_runtime.h>

#include <memory>
#include <utility>

#include "tests/emulator/calls.h"
#include "tests/emulator/recording.h"
#include "tests/emulator/state.h"

namespace nibble::emulator {
namespace {

void log_synchronization(Stream& stream, const char* function) {
  LogEntry made = entry(LogEntry::kSynchronize, nullptr, 0);
  made.name = function;
  queue_work(stream, made, nullptr);
}

}  // namespace
}  // namespace nibble::emulator

using namespace nibble::emulator;

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* handle, unsigned flags) {
  NIBBLE_BEGIN("cudaStreamCreateWithFlags");
  if (flags != cudaStreamNonBlocking) return remember(cudaErrorNotSupported);  // waiting for the default stream is not emulated
  Stream made;
  made.number = ++state().streams_made;
  *handle = reinterpret_cast<cudaStream_t>(static_cast<uintptr_t>(0x5000 + 16 * made.number));
  state().streams.emplace(*handle, std::move(made));
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  NIBBLE_BEGIN("cudaStreamDestroy");
  Stream* stream = handle != nullptr ? stream_of(handle) : nullptr;
  if (stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  finish_quietly(stream);
  for (auto& [event_handle, event] : state().events) {
    if (event.stream == stream) event.stream = nullptr;
  }
  state().streams.erase(handle);
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  NIBBLE_BEGIN("cudaStreamSynchronize");
  Stream* stream = stream_of(handle);
  if (stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (stream->recording != nullptr) NIBBLE_NOT_WHILE_RECORDING();
  log_synchronization(*stream, "cudaStreamSynchronize");
  run_all(*stream);
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  NIBBLE_BEGIN("cudaDeviceSynchronize");
  NIBBLE_NOT_WHILE_RECORDING();
  log_synchronization(state().default_stream, "cudaDeviceSynchronize");
  run_everything();
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* handle, unsigned) {
  NIBBLE_BEGIN("cudaEventCreateWithFlags");
  Event made;
  made.number = ++state().events_made;
  *handle = reinterpret_cast<cudaEvent_t>(static_cast<uintptr_t>(0x9000000 + 16 * made.number));
  state().events.emplace(*handle, made);
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  NIBBLE_BEGIN("cudaEventDestroy");
  return state().events.erase(handle) == 1 ? cudaSuccess : remember(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream_handle) {
  NIBBLE_BEGIN("cudaEventRecord");
  Event* event = find(state().events, handle);
  Stream* stream = stream_of(stream_handle);
  if (event == nullptr || stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  event->recording = stream->recording;
  event->after = stream->last_recorded;
  event->stream = stream;
  if (stream->recording != nullptr) return cudaSuccess;  // it orders what is recorded, and is nothing to do
  LogEntry made = entry(LogEntry::kRecord, nullptr, 0);
  made.event = event->number;
  event->position = stream->queued_ever + 1;
  queue_work(*stream, made, nullptr);
  return cudaSuccess;
}

// Waits for what the event records now: recording it again changes nothing for this wait.
cudaError_t cudaStreamWaitEvent(cudaStream_t stream_handle, cudaEvent_t handle, unsigned) {
  NIBBLE_BEGIN("cudaStreamWaitEvent");
  Event* event = find(state().events, handle);
  Stream* stream = stream_of(stream_handle);
  if (event == nullptr || stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (event->recording != nullptr && !event->recording->ended) {
    if (stream == &state().default_stream) return remember(cudaErrorStreamCaptureImplicit);
    if (stream->recording != nullptr && stream->recording != event->recording) return remember(cudaErrorStreamCaptureMerge);
    stream->recording = event->recording;  // from here on it records, too
    stream->last_recorded.insert(event->after.begin(), event->after.end());
    return cudaSuccess;
  }
  if (stream->recording != nullptr) {
    stream->recording->spoiled = true;
    return remember(cudaErrorStreamCaptureIsolation);  // of an event from outside
  }
  if (event->recording != nullptr) return remember(cudaErrorCapturedEvent);
  LogEntry made = entry(LogEntry::kWait, nullptr, 0);
  made.event = event->number;
  const int recorded_in = event->stream != nullptr ? event->stream->number : -1;
  queue_work(*stream, made, [recorded_in, position = event->position] {
    if (recorded_in == 0) run_until(state().default_stream, position);
    for (auto& [other_handle, other] : state().streams) {  // by number: the stream may be gone, and then its work is done
      if (other.number == recorded_in) run_until(other, position);
    }
  });
  return cudaSuccess;
}

// With deferred streams each query lets one piece of work be done, so that polling ends.
cudaError_t cudaEventQuery(cudaEvent_t handle) {
  NIBBLE_BEGIN("cudaEventQuery");
  const Event* event = find(state().events, handle);
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (event->recording != nullptr) return remember(cudaErrorCapturedEvent);
  NIBBLE_NOT_WHILE_RECORDING();
  if (is_done(*event)) return cudaSuccess;
  run_until(*event->stream, event->stream->done_ever + 1);
  return cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  NIBBLE_BEGIN("cudaEventSynchronize");
  const Event* event = find(state().events, handle);
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (event->recording != nullptr) return remember(cudaErrorCapturedEvent);
  if (event->stream == nullptr) return cudaSuccess;
  log_synchronization(*event->stream, "cudaEventSynchronize");
  run_until(*event->stream, event->position);
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  NIBBLE_BEGIN("cudaStreamBeginCapture");
  Stream* stream = stream_of(handle);
  if (stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (mode != cudaStreamCaptureModeThreadLocal) return remember(cudaErrorNotSupported);
  if (stream == &state().default_stream) return remember(cudaErrorStreamCaptureUnsupported);
  if (stream->recording != nullptr) return remember(cudaErrorIllegalState);
  stream->recording = std::make_shared<Recording>();
  stream->recording->origin = stream->number;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  NIBBLE_BEGIN("cudaStreamEndCapture");
  *graph = nullptr;
  Stream* stream = stream_of(handle);
  if (stream == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (stream->recording == nullptr) return remember(cudaErrorIllegalState);
  if (stream->recording->origin != stream->number) return remember(cudaErrorStreamCaptureUnmatched);
  int error = cudaSuccess;
  const std::shared_ptr<Graph> recorded = end_recording(*stream, &error);
  if (recorded == nullptr) return remember(static_cast<cudaError_t>(error));
  *graph = reinterpret_cast<cudaGraph_t>(static_cast<uintptr_t>(0xA000000 + 16 * ++state().graphs_made));
  state().graphs.emplace(*graph, recorded);
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  NIBBLE_BEGIN("cudaGraphInstantiate");
  const std::shared_ptr<Graph>* recorded = find(state().graphs, graph);
  if (recorded == nullptr) return remember(cudaErrorInvalidValue);
  *executable = reinterpret_cast<cudaGraphExec_t>(static_cast<uintptr_t>(0xB000000 + 16 * ++state().graphs_made));
  state().executables.emplace(*executable, *recorded);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle) {
  NIBBLE_BEGIN("cudaGraphLaunch");
  const std::shared_ptr<Graph>* recorded = find(state().executables, executable);
  Stream* stream = stream_of(handle);
  if (recorded == nullptr || stream == nullptr) return remember(cudaErrorInvalidValue);
  if (stream->recording != nullptr) return remember(cudaErrorNotSupported);  // graphs within graphs are not emulated
  LogEntry made = entry(LogEntry::kReplay, nullptr, 0);
  made.blocks = static_cast<int64_t>((*recorded)->work.size());
  queue_work(*stream, made, [graph = *recorded] { graph->run(); });
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  NIBBLE_BEGIN("cudaGraphDestroy");
  return state().graphs.erase(graph) == 1 ? cudaSuccess : remember(cudaErrorInvalidValue);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  NIBBLE_BEGIN("cudaGraphExecDestroy");
  return state().executables.erase(executable) == 1 ? cudaSuccess : remember(cudaErrorInvalidValue);
}

}  // extern "C"
