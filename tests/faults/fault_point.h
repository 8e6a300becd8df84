// Where and how the fault layer interferes, from environment variables, and the turn of one watched operation.
//
//   NIBBLE_FAULT_UNDER   folders, separated by ':', as /proc shows them; operations on paths in them are counted from 1
//   NIBBLE_FAULT_POINT   the number of the operation at which it happens
//   NIBBLE_FAULT         what happens there:
//     kill, kill_after         SIGKILL before or after the operation
//     half_kill                a write writes half of its bytes, then SIGKILL
//     half_enospc, half_eio    a write writes half of its bytes, and fails
//     enospc, eio              the operation fails
//     enospc_on, eio_on        it and all later ones fail: a disk that stays full, one that is dead
//     cut_names                power cut: bytes that were not synced are lost, names stay (unsynced.h)
//     cut_all                  power cut: bytes and names that were not synced are lost
//     cut_removed              power cut: the same, but what was removed stays removed: the later change overtakes the earlier
//     short_all, eintr_all     every write writes half; is interrupted first: legal, and must not show (no point needed)
//   NIBBLE_FAULT_TRACE   a file that gets a line for each operation: its number, kind, path, and for a rename the new path
//   NIBBLE_FAULT_ASIDE   an existing folder on the same file system for what a power cut brings back
//   NIBBLE_FAULT_FREE    bytes that statvfs says are free on these folders' file system; "fail": it fails; "none": it says 0 blocks
//
// fsync is counted and not done: only a power cut would tell, and the cut here follows the program's calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/faults/unsynced.h"
#include "tests/faults/watched_path.h"

namespace nibble::faults {

enum class Operation : uint8_t { kCreate, kWrite, kResize, kSync, kRename, kUnlink, kMakeFolder, kRemoveFolder, kLink };
const char* operation_name(Operation operation);

enum class Fault : uint8_t { kNone, kKill, kKillAfter, kHalfKill, kHalfFail, kFail, kFailOn, kCutNames, kCutAll, kCutRemoved, kShortAll, kInterruptAll };

struct Settings {
  std::vector<std::string> under;
  int64_t point = 0;
  Fault fault = Fault::kNone;
  int error = 0;  // errno, of faults that fail
  int trace_fd = -1;
  std::optional<std::string> free;
  bool cuts() const { return fault == Fault::kCutNames || fault == Fault::kCutAll || fault == Fault::kCutRemoved; }
};
const Settings& settings();

// An fsync that is not counted, of a folder above the watched ones: it makes their names sure.
void note_sync(int fd);

inline bool is_watched(const Path& path) { return path.is_under(settings().under); }

// One watched operation, from its count to its end. Others wait meanwhile, so that the count is an order.
class Turn {
 public:
  // May end the process.
  Turn(Operation operation, const Path& path, const Path& to = {});
  Turn(const Turn&) = delete;
  ~Turn();  // may end the process

  int error() const { return error_; }     // errno with which it fails undone; 0: it is done
  // How much of a write of `count` bytes is done.
  size_t share(size_t count) const { return halves_ ? count / 2 : count; }
  bool halves() const { return halves_; }
  int after_half() const;                  // may end the process; the errno of the call, 0: it returns the short count
  Unsynced* unsynced() const;              // null where no power cut is asked for

 private:
  int error_ = 0;
  bool here_ = false, halves_ = false;
};

}  // namespace nibble::faults
