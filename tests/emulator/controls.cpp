// The tests' side: emulator.h.
#include <fmt/format.h>

#include "tests/emulator/state.h"

namespace nibble::emulator {

void reset(const Device& device) {
  State& s = state();
  const auto watched = s.watched;
  const int checked = s.checked_launches;
  s.memory.clear();
  s.memory.set_limit(device.memory_bytes, device.tracks_managed && device.concurrent_managed_access);
  s.device = device;
  s.calls.clear();
  s.failures.clear();
  s.last_error = 0;
  s.log.clear();
  s.log_base = 0;
  s.work_done = 0;
  s.default_stream = {};
  s.streams.clear();
  s.events.clear();
  s.graphs.clear();
  s.executables.clear();
  s.streams_made = s.events_made = s.graphs_made = 0;
  s.watched = watched;
  s.checked_launches = checked;
  s.unreported.clear();
  catch_faults();
}

std::string leaks() {
  State& s = state();
  std::string text = s.memory.leaks() + s.memory.damage() + s.unreported;
  for (const auto& [handle, stream] : s.streams) text += fmt::format("stream {} was not destroyed\n", stream.number);
  for (const auto& [handle, event] : s.events) text += fmt::format("event {} was not destroyed\n", event.number);
  if (!s.graphs.empty() || !s.executables.empty()) {
    text += fmt::format("{} graphs and {} made executable were not destroyed\n", s.graphs.size(), s.executables.size());
  }
  return text;
}

void fail_call(const std::string& function, int nth, int error) {
  state().failures.push_back({function, calls(function) + nth, error});
}

int64_t calls(const std::string& function) {
  const auto found = state().calls.find(function);
  return found == state().calls.end() ? 0 : found->second;
}

const std::vector<LogEntry>& log() { return state().log; }

void clear_log() {
  State& s = state();
  s.log_base += static_cast<int64_t>(s.log.size());
  s.log.clear();
}

MemoryUse memory_use() { return state().memory.use(); }

CheckedLaunches::CheckedLaunches() { ++state().checked_launches; }
CheckedLaunches::~CheckedLaunches() { --state().checked_launches; }

Watch::Watch(void* data, int64_t bytes) : data_(data) { state().watched[data] = bytes; }
Watch::~Watch() { state().watched.erase(data_); }

}  // namespace nibble::emulator
