#include "optim/device_step.h"

#include <algorithm>

#include "optim/moment8_tables.h"

namespace nibble::optim {

DeviceStep::DeviceStep(const gpu::Queue& queue, const StateLayout& layout)
    : queue_(queue), chunk_count_(static_cast<int64_t>(layout.chunks.size())) {
  segments_ = upload(layout.segments.data(), layout.segments.size() * sizeof(UpdateSegment));
  chunks_ = upload(layout.chunks.data(), layout.chunks.size() * sizeof(UpdateChunk));
  chunk_sums_ = DeviceBuffer(queue_, chunk_count_ * static_cast<int64_t>(sizeof(double)));
  state_ = DeviceBuffer(queue_, sizeof(StepState));
  clear();
  const auto has_codes = [](const UpdateSegment& segment) { return segment.absmax_m >= 0; };
  if (std::any_of(layout.segments.begin(), layout.segments.end(), has_codes)) {
    tables_ = upload(&moment_tables(), sizeof(MomentTables));
  }
  runtime().synchronize(queue_.stream);  // the layout's host memory is the caller's
}

DeviceBuffer DeviceStep::upload(const void* from, size_t bytes) const {
  DeviceBuffer buffer(queue_, static_cast<int64_t>(bytes));
  if (bytes > 0) runtime().copy(buffer.data(), from, static_cast<int64_t>(bytes), queue_.stream);
  return buffer;
}

void DeviceStep::begin(const StepNumbers& numbers) {
  if (chunk_count_ > 0) {
    lines().gradient_norm({segments_.as<UpdateSegment>(), chunks_.as<UpdateChunk>(), chunk_count_, chunk_sums_.as<double>()},
                          queue_.stream);
  }
  lines().begin_step({chunk_sums_.as<double>(), chunk_count_, numbers, state_.as<StepState>()}, queue_.stream);
}

void DeviceStep::update(UpdateLine line, const StateWindow& window, int64_t window_offset, size_t chunk_begin,
                        size_t chunk_end) {
  UpdateLaunch launch;
  launch.segments = segments_.as<UpdateSegment>();
  launch.chunks = chunks_.as<UpdateChunk>() + chunk_begin;
  launch.chunk_count = static_cast<int64_t>(chunk_end - chunk_begin);
  launch.window = window.address;
  launch.window_offset = window_offset;
  launch.state = state_.as<StepState>();
  launch.tables = tables_.as<MomentTables>();
  (lines().*line)(launch, queue_.stream);
}

StepState DeviceStep::state() const {
  StepState state;
  runtime().copy(&state, state_.data(), sizeof state, queue_.stream);
  runtime().synchronize(queue_.stream);
  return state;
}

void DeviceStep::clear() { runtime().fill_zero(state_.data(), sizeof(StepState), queue_.stream); }

}  // namespace nibble::optim
