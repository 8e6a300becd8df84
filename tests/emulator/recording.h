// Streams that record (cudaStreamBeginCapture): what they were given and in which order it must be done.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "tests/emulator/emulator.h"

namespace nibble::emulator {

struct Stream;

// A piece of recorded work, done after those whose numbers it names.
struct RecordedWork {
  std::function<void()> act;
  LogEntry entry;
  std::set<size_t> after;
};

struct Recording {
  std::vector<RecordedWork> work;
  int origin = 0;        // the number of the stream that began it
  bool spoiled = false;  // a call that is not allowed was made meanwhile
  bool ended = false;
};

// Work that was recorded, as often as it is replayed. What nothing orders is done in one order the first time and in the
// opposite one the next.
struct Graph {
  std::vector<RecordedWork> work;
  int origin = 0;
  int64_t replays = 0;

  void run();
};

// Ends a stream's recording. Null where another stream of it was not joined again, or it was spoiled; *error says which.
std::shared_ptr<Graph> end_recording(Stream& stream, int* error);

}  // namespace nibble::emulator
