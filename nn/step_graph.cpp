#include "nn/step_graph.h"

#include <algorithm>
#include <exception>

#include "gpu/runtime_table.h"

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

StepGraphs::Run StepGraphs::run(const Key& key, const std::function<void()>& piece) {
  if (!place_.queue || place_.queue.stream == nullptr || !failure_.empty()) {
    piece();
    return Run::kPlain;
  }
  const auto [found, is_new] = entries_.try_emplace(key);
  Entry& entry = found->second;
  entry.used = ++runs_;
  if (is_new) {
    make_room();
    piece();
    return Run::kPlain;
  }
  const gpu::RuntimeTable& runtime = *place_.queue.module->runtime;
  const bool recorded = entry.graph == nullptr;
  if (recorded && !record(entry, piece)) {
    piece();
    return Run::kPlain;
  }
  runtime.replay(entry.graph, place_.queue.stream);
  return recorded ? Run::kRecorded : Run::kReplayed;
}

bool StepGraphs::record(Entry& entry, const std::function<void()>& piece) {
  const gpu::RuntimeTable& runtime = *place_.queue.module->runtime;
  try {
    runtime.begin_capture(place_.queue.stream);
    piece();
    entry.graph = runtime.end_capture(place_.queue.stream);
    ++graphs_;
    return true;
  } catch (const std::exception& error) {
    // Nothing of the piece was done. If it is at fault rather than the recording, running it plainly says so again.
    failure_ = error.what();
    runtime.abandon_capture(place_.queue.stream);
    return false;
  }
}

// Entries that were never recorded count too: keys that never come back would pile up.
void StepGraphs::make_room() {
  if (entries_.size() <= most_) return;
  const auto oldest = std::min_element(entries_.begin(), entries_.end(),
                                       [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
  if (oldest->second.graph != nullptr) {
    place_.queue.module->runtime->synchronize(place_.queue.stream);
    place_.queue.module->runtime->destroy_graph(oldest->second.graph);
    --graphs_;
  }
  entries_.erase(oldest);
}

}  // namespace nibble::nn
