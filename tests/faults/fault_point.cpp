#include "tests/faults/fault_point.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string_view>

#include "tests/faults/raw_calls.h"

namespace nibble::faults {
namespace {

struct Named {
  const char* name;
  Fault fault;
  int error;
};
constexpr Named kFaults[] = {
    {"kill", Fault::kKill, 0},           {"kill_after", Fault::kKillAfter, 0},    {"half_kill", Fault::kHalfKill, 0},
    {"half_enospc", Fault::kHalfFail, ENOSPC}, {"half_eio", Fault::kHalfFail, EIO}, {"enospc", Fault::kFail, ENOSPC},
    {"eio", Fault::kFail, EIO},          {"enospc_on", Fault::kFailOn, ENOSPC},   {"eio_on", Fault::kFailOn, EIO},
    {"cut_names", Fault::kCutNames, 0},  {"cut_all", Fault::kCutAll, 0},      {"cut_removed", Fault::kCutRemoved, 0},          {"short_all", Fault::kShortAll, 0},
    {"eintr_all", Fault::kInterruptAll, EINTR}};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

[[noreturn]] void refuse(const std::string& what) {
  std::fprintf(stderr, "fault layer: %s\n", what.c_str());
  std::abort();
}

Settings read_settings() {
  Settings read;
  const std::string under = variable("NIBBLE_FAULT_UNDER"), fault = variable("NIBBLE_FAULT"), trace = variable("NIBBLE_FAULT_TRACE");
  for (size_t begin = 0; begin < under.size();) {
    const size_t end = std::min(under.find(':', begin), under.size());
    if (end > begin) read.under.push_back(under.substr(begin, end - begin));
    begin = end + 1;
  }
  read.point = std::atoll(variable("NIBBLE_FAULT_POINT").c_str());
  for (const Named& named : kFaults) {
    if (fault == named.name) read.fault = named.fault, read.error = named.error;
  }
  if (!fault.empty() && read.fault == Fault::kNone) refuse("no such NIBBLE_FAULT: " + fault);
  if (!trace.empty() && (read.trace_fd = raw::open(trace.c_str(), O_WRONLY | O_CREAT | O_APPEND)) < 0) refuse("cannot write " + trace);
  if (read.cuts() && variable("NIBBLE_FAULT_ASIDE").empty()) refuse("a power cut needs NIBBLE_FAULT_ASIDE");
  if (std::getenv("NIBBLE_FAULT_FREE") != nullptr) read.free = variable("NIBBLE_FAULT_FREE");
  return read;
}

// What all threads share; never destroyed, for a thread may outlive main.
struct Shared {
  std::mutex mutex;
  int64_t count = 0;
  int64_t writes = 0;  // watched ones, interrupted or not
  Unsynced unsynced{variable("NIBBLE_FAULT_ASIDE")};
};
Shared& shared() {
  static Shared* all = new Shared;
  return *all;
}

// A full disk still removes.
bool needs_room(Operation operation) { return operation != Operation::kUnlink && operation != Operation::kRemoveFolder; }

void trace(const Settings& set, int64_t number, Operation operation, const Path& path, const Path& to) {
  if (set.trace_fd < 0) return;
  std::string line = std::to_string(number) + "\t" + operation_name(operation) + "\t" + path.c_str();
  if (!to.text().empty()) line += std::string("\t") + to.c_str();
  line += "\n";
  raw::write(set.trace_fd, line.data(), line.size());
}

}  // namespace

const char* operation_name(Operation operation) {
  switch (operation) {
    case Operation::kCreate: return "create";
    case Operation::kWrite: return "write";
    case Operation::kResize: return "resize";
    case Operation::kSync: return "sync";
    case Operation::kRename: return "rename";
    case Operation::kUnlink: return "unlink";
    case Operation::kMakeFolder: return "mkdir";
    case Operation::kRemoveFolder: return "rmdir";
    case Operation::kLink: return "link";
  }
  return "";
}

const Settings& settings() {
  static const Settings* all = new Settings(read_settings());
  return *all;
}

void note_sync(int fd) {
  const std::lock_guard lock(shared().mutex);
  shared().unsynced.synced(fd);
}

Turn::Turn(Operation operation, const Path& path, const Path& to) {
  const Settings& set = settings();
  shared().mutex.lock();
  const int64_t number = ++shared().count;
  trace(set, number, operation, path, to);
  here_ = number == set.point;
  const bool is_write = operation == Operation::kWrite;
  const bool can_fail = set.error != ENOSPC || needs_room(operation);
  switch (set.fault) {
    case Fault::kNone:
    case Fault::kKillAfter: break;
    case Fault::kKill:
      if (here_) raw::die();
      break;
    case Fault::kCutNames:
    case Fault::kCutAll:
    case Fault::kCutRemoved:
      if (!here_) break;
      shared().unsynced.lose_bytes(number % 2 == 0 && set.fault == Fault::kCutNames);
      if (set.fault != Fault::kCutNames) shared().unsynced.lose_names(/*also_removals=*/set.fault == Fault::kCutAll);
      raw::die();
    case Fault::kHalfKill: halves_ = here_ && is_write; break;
    case Fault::kHalfFail: halves_ = here_ && is_write; break;
    case Fault::kShortAll: halves_ = is_write; break;
    case Fault::kFail: error_ = here_ && can_fail ? set.error : 0; break;
    case Fault::kFailOn: error_ = set.point > 0 && number >= set.point && can_fail ? set.error : 0; break;
    case Fault::kInterruptAll: error_ = is_write && ++shared().writes % 2 == 1 ? EINTR : 0; break;
  }
}

Turn::~Turn() {
  if (here_ && settings().fault == Fault::kKillAfter) raw::die();
  shared().mutex.unlock();
}

int Turn::after_half() const {
  if (settings().fault == Fault::kHalfKill) raw::die();
  return settings().fault == Fault::kHalfFail ? settings().error : 0;
}

Unsynced* Turn::unsynced() const { return settings().cuts() ? &shared().unsynced : nullptr; }

}  // namespace nibble::faults
