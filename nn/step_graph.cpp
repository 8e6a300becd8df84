#include "nn/step_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "core/error.h"
#include "gpu/runtime_table.h"
#include "tensor/torch_allocations.h"

namespace nibble::nn {

StepGraphs::StepGraphs(const Place& place, size_t most) : place_(place), most_(most) {}

StepGraphs::~StepGraphs() {
  if (!place_.queue) return;
  for (const auto& [key, entry] : entries_) place_.queue.module->runtime->destroy_graph(entry.graph);
}

void StepGraphs::clear() {
  if (graphs_ > 0) place_.queue.module->runtime->synchronize(place_.queue.stream);
  for (const auto& [key, entry] : entries_) {
    if (entry.graph != nullptr) place_.queue.module->runtime->destroy_graph(entry.graph);
  }
  entries_.clear();
  graphs_ = 0;
}

StepGraphs::Run StepGraphs::run_plainly(const std::function<void()>& piece) {
  ++counts_.plain;
  piece();
  return Run::kPlain;
}

StepGraphs::Run StepGraphs::run(const Key& key, const std::function<void()>& piece, const HostState& host) {
  if (!place_.queue || place_.queue.stream == nullptr || !failure_.empty()) return run_plainly(piece);
  const auto [found, is_new] = entries_.try_emplace(key);
  Entry& entry = found->second;
  entry.used = ++runs_;
  if (is_new) {
    make_room();
    return run_plainly(piece);
  }
  const gpu::RuntimeTable& runtime = *place_.queue.module->runtime;
  const bool recorded = entry.graph == nullptr;
  if (recorded && !record(entry, piece, host)) return run_plainly(piece);
  runtime.replay(entry.graph, place_.queue.stream);
  if (!recorded && host.restore) host.restore(entry.after);
  ++(recorded ? counts_.recorded : counts_.replayed);
  return recorded ? Run::kRecorded : Run::kReplayed;
}

bool StepGraphs::record(Entry& entry, const std::function<void()>& piece, const HostState& host) {
  const gpu::RuntimeTable& runtime = *place_.queue.module->runtime;
  const std::any before = host.save ? host.save() : std::any();
  try {
    runtime.begin_capture(place_.queue.stream);
    int64_t allocations = 0;
    {
      const tensor::TorchAllocations torch(place_.device.type());
      piece();
      allocations = torch.count();
    }
    entry.graph = runtime.end_capture(place_.queue.stream);
    // Memory of LibTorch's allocator may be somebody else's when the graph is replayed.
    if (allocations > 0) throw RunError(fmt::format("LibTorch allocated memory {} times while a piece of the step was recorded", allocations));
    if (host.save) entry.after = host.save();
    ++graphs_;
    return true;
  } catch (const std::exception& error) {
    // Nothing of the piece was done. If it is at fault rather than the recording, running it plainly says so again.
    failure_ = error.what();
    runtime.abandon_capture(place_.queue.stream);
    runtime.destroy_graph(std::exchange(entry.graph, nullptr));
    if (host.restore) host.restore(before);
    return false;
  }
}

// Entries that were never recorded count too: keys that never come back would pile up. A graph that is still running is freed by
// the runtime when it has ended.
void StepGraphs::make_room() {
  if (entries_.size() <= most_) return;
  const auto oldest = std::min_element(entries_.begin(), entries_.end(),
                                       [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
  if (oldest->second.graph != nullptr) {
    place_.queue.module->runtime->destroy_graph(oldest->second.graph);
    --graphs_;
  }
  entries_.erase(oldest);
}

}  // namespace nibble::nn
