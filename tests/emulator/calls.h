// What every stand-in of a CUDA runtime function begins with: it is counted, and may have been ordered to fail.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "tests/emulator/failure.h"
#include "tests/emulator/state.h"

namespace nibble::emulator {

inline cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) state().last_error = error;
  return error;
}

// Counts a call. Returns the failure that a test has ordered for it, if any.
inline cudaError_t begin(const char* function) {
  State& s = state();
  const int64_t call = ++s.calls[function];
  for (const Failure& failure : s.failures) {
    if (failure.call == call && failure.function == function) return remember(static_cast<cudaError_t>(failure.error));
  }
  return cudaSuccess;
}

// For calls that a recording thread must not make: the recording is spoiled, as CUDA does it.
inline cudaError_t refuse_while_recording() {
  bool recording = false;
  for (auto& [handle, stream] : state().streams) {
    if (stream.recording == nullptr) continue;
    stream.recording->spoiled = recording = true;
  }
  return recording ? remember(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

inline LogEntry entry(LogEntry::Kind kind, const void* pointer, size_t bytes) {
  LogEntry made;
  made.kind = kind;
  made.pointer = pointer;
  made.bytes = static_cast<int64_t>(bytes);
  return made;
}

// Where CUDA would finish queued work in a call that cannot say that a kernel failed.
inline void finish_quietly(Stream* only = nullptr) {
  try {
    only != nullptr ? run_all(*only) : run_everything();
  } catch (const KernelFailure& failure) {
    state().unreported += std::string(failure.what()) + "\n";
  }
}

template <class Table>
typename Table::mapped_type* find(Table& table, void* handle) {
  const auto found = table.find(handle);
  return found == table.end() ? nullptr : &found->second;
}

}  // namespace nibble::emulator

// A call that a test makes fail ends here.
#define NIBBLE_BEGIN(function) \
  if (const cudaError_t failure = nibble::emulator::begin(function); failure != cudaSuccess) return failure
// And one that is not allowed while a stream records, here.
#define NIBBLE_NOT_WHILE_RECORDING() \
  if (const cudaError_t refused = nibble::emulator::refuse_while_recording(); refused != cudaSuccess) return refused
