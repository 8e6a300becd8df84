// An optimizer's step on a device: its tables there, and the launches.
#pragma once

#include <vector>

#include "optim/cuda_table.h"
#include "optim/device_buffer.h"
#include "optim/state_layout.h"

namespace nibble::optim {

// Which of the module's launch lines updates.
using UpdateLine = void (*CudaTable::*)(const UpdateLaunch& launch, void* stream);

class DeviceStep {
 public:
  // Copies the layout's tables to the device and waits for it. REQUIRES a queue; segments with their pointers set, to
  // device memory. THROWS CudaError
  DeviceStep(const gpu::Queue& queue, const StateLayout& layout);

  // Queues the gradient's norm and the step's head: two launches, nothing waits.
  void begin(const StepNumbers& numbers);
  // Queues the update of chunks [chunk_begin, chunk_end), whose state is in the window: one launch. `window_offset` is the
  // arena's byte at window.address.
  void update(UpdateLine line, const StateWindow& window, int64_t window_offset, size_t chunk_begin, size_t chunk_end);

  // What the last step that was queued left; waits for the stream.
  StepState state() const;
  // As before the first step.
  void clear();

 private:
  const gpu::RuntimeTable& runtime() const { return *queue_.module->runtime; }
  const CudaTable& lines() const { return *queue_.module->optim; }
  DeviceBuffer upload(const void* from, size_t bytes) const;

  gpu::Queue queue_;
  int64_t chunk_count_ = 0;
  DeviceBuffer segments_, chunks_;  // UpdateSegment [segments], UpdateChunk [chunks]
  DeviceBuffer chunk_sums_;         // fp64 [chunks]
  DeviceBuffer state_;              // StepState
  DeviceBuffer tables_;             // MomentTables; empty where all state is fp32
};

}  // namespace nibble::optim
