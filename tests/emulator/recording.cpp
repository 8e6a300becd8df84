#include "tests/emulator/recording.h"

#include <driver_types.h>

#include <utility>

#include "tests/emulator/state.h"

namespace nibble::emulator {
namespace {

// The numbers of all work that must be done before any of `last`, `last` included.
std::set<size_t> with_all_before(const std::vector<RecordedWork>& work, const std::set<size_t>& last) {
  std::set<size_t> found = last;
  // What a piece of work waits for has a lower number.
  for (size_t i = work.size(); i-- > 0;) {
    if (found.count(i) > 0) found.insert(work[i].after.begin(), work[i].after.end());
  }
  return found;
}

}  // namespace

void Graph::run() {
  const bool others_first = replays++ % 2 == 0;
  std::vector<bool> done(work.size());
  for (size_t left = work.size(); left > 0; --left) {
    size_t chosen = work.size();
    bool chosen_is_preferred = false;
    for (size_t i = 0; i < work.size(); ++i) {
      bool ready = !done[i];
      for (const size_t before : work[i].after) ready = ready && done[before];
      const bool preferred = (work[i].entry.stream != origin) == others_first;
      if (!ready || (chosen < work.size() && (chosen_is_preferred || !preferred))) continue;
      chosen = i;
      chosen_is_preferred = preferred;
    }
    done[chosen] = true;
    work[chosen].act();
    State& s = state();
    s.log.push_back(work[chosen].entry);
    s.log.back().done = s.work_done++;
  }
}

std::shared_ptr<Graph> end_recording(Stream& stream, int* error) {
  const std::shared_ptr<Recording> recording = stream.recording;
  const std::set<size_t> joined = with_all_before(recording->work, stream.last_recorded);
  bool all_joined = true;
  for (auto& [handle, other] : state().streams) {
    if (other.recording != recording) continue;
    for (const size_t last : other.last_recorded) all_joined = all_joined && joined.count(last) > 0;
    other.recording = nullptr;
    other.last_recorded.clear();
  }
  recording->ended = true;
  *error = recording->spoiled ? cudaErrorStreamCaptureInvalidated : all_joined ? cudaSuccess : cudaErrorStreamCaptureUnjoined;
  if (*error != cudaSuccess) return nullptr;
  auto graph = std::make_shared<Graph>();
  graph->work = std::move(recording->work);
  graph->origin = recording->origin;
  return graph;
}

}  // namespace nibble::emulator
