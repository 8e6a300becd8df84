// What the emulator remembers between calls of the CUDA runtime: one device, as the runtime itself has one state a process.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/emulator/emulator.h"
#include "tests/emulator/memory.h"
#include "tests/emulator/recording.h"

namespace nibble::emulator {

// One piece of work in a stream, and its entry in the log.
struct Work {
  std::function<void()> act;
  size_t entry;
};

struct Stream {
  int number = 0;
  std::deque<Work> queued;
  int64_t queued_ever = 0;
  int64_t done_ever = 0;
  std::shared_ptr<Recording> recording;  // null: work is queued
  std::set<size_t> last_recorded;        // what the next work to be recorded comes after
};

struct Event {
  int number = 0;
  Stream* stream = nullptr;  // where it was last recorded, or null
  int64_t position = 0;      // work of that stream that must be done
  std::shared_ptr<Recording> recording;  // where it was last recorded in a stream that records
  std::set<size_t> after;                // then, what was before it
};

struct Failure {
  std::string function;
  int64_t call;  // counted from reset
  int error;
};

struct State {
  Device device;
  Memory memory;
  std::map<std::string, int64_t> calls;
  std::vector<Failure> failures;
  int last_error = 0;
  std::vector<LogEntry> log;
  int64_t log_base = 0;  // entries before these were cleared
  int64_t work_done = 0;
  Stream default_stream;
  std::map<void*, Stream> streams;  // by what the caller holds
  std::map<void*, Event> events;
  std::map<void*, std::shared_ptr<Graph>> graphs;       // as recorded
  std::map<void*, std::shared_ptr<Graph>> executables;  // and instantiated
  int streams_made = 0;
  int events_made = 0;
  int graphs_made = 0;
  int checked_launches = 0;
  std::map<void*, int64_t> watched;
  std::string unreported;  // failures of kernels within calls that cannot say so
};
State& state();

// ---- streams.cpp
Stream* stream_of(void* handle);  // null for a handle that is none
// Queues work and, with eager streams, does it; in a stream that records, records it. THROWS what the work throws.
void queue_work(Stream& stream, LogEntry entry, std::function<void()> act);
void run_until(Stream& stream, int64_t position);  // work done so far
void run_all(Stream& stream);
void run_everything();
bool is_done(const Event& event);

void catch_faults();  // grid.cpp

}  // namespace nibble::emulator
