// Streams and events: the order in which queued work is done.
#include "tests/emulator/state.h"

namespace nibble::emulator {

State& state() {
  // Never destroyed: fixtures may release memory when the process ends.
  static State* const only = [] {
    auto* made = new State;
    made->memory.set_limit(made->device.memory_bytes, made->device.tracks_managed);
    catch_faults();
    return made;
  }();
  return *only;
}

Stream* stream_of(void* handle) {
  if (handle == nullptr) return &state().default_stream;
  const auto found = state().streams.find(handle);
  return found == state().streams.end() ? nullptr : &found->second;
}

void queue_work(Stream& stream, LogEntry entry, std::function<void()> act) {
  State& s = state();
  entry.stream = stream.number;
  if (stream.recording != nullptr) {
    std::vector<RecordedWork>& recorded = stream.recording->work;
    recorded.push_back({std::move(act), std::move(entry), stream.last_recorded});
    stream.last_recorded = {recorded.size() - 1};
    return;
  }
  s.log.push_back(std::move(entry));
  stream.queued.push_back({std::move(act), static_cast<size_t>(s.log_base) + s.log.size() - 1});
  ++stream.queued_ever;
  if (s.device.streams == Streams::kEager) run_all(stream);
}

void run_until(Stream& stream, int64_t position) {
  State& s = state();
  while (stream.done_ever < position && !stream.queued.empty()) {
    const Work work = std::move(stream.queued.front());
    stream.queued.pop_front();
    ++stream.done_ever;
    if (work.act) work.act();
    if (work.entry >= static_cast<size_t>(s.log_base)) s.log[work.entry - static_cast<size_t>(s.log_base)].done = s.work_done++;
  }
}

void run_all(Stream& stream) { run_until(stream, stream.queued_ever); }

void run_stream(int number) {
  if (number == 0) run_all(state().default_stream);
  for (auto& [handle, stream] : state().streams) {
    if (stream.number == number) run_all(stream);
  }
}

void run_everything() {
  run_all(state().default_stream);
  for (auto& [handle, stream] : state().streams) run_all(stream);
}

bool is_done(const Event& event) { return event.stream == nullptr || event.stream->done_ever >= event.position; }

}  // namespace nibble::emulator
