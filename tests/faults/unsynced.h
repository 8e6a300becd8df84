// What a power cut may take: bytes that were written and not brought to disk by fsync of their file, and names that were made,
// changed or removed and not brought to disk by fsync of their folder.
//
// POSIX promises no more than that, and file systems differ in what they keep beyond it. Three extremes are tried: all such bytes
// are lost and all names stay (a rename overtakes the data); both are lost (a folder as it was before); both are lost, and what
// was removed is gone (a removal overtakes the rename before it). What a name
// held before it was replaced or removed is kept as a second link in a folder aside, so that it can come back.
//
// Source of the rules: fsync(2), rename(2); how file systems break them: Pillai et al., "All File Systems Are Not Created
// Equal", OSDI 2014.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/faults/watched_path.h"

namespace nibble::faults {

class Unsynced {
 public:
  // aside: an existing folder on the same file system, not watched itself.
  explicit Unsynced(std::string aside) : aside_(std::move(aside)) {}

  void before_write(int fd);  // the file's bytes or size will change
  void synced(int fd);        // a file or a folder
  void made(const Path& name, bool folder);
  // Before a name goes or is replaced: what to hand to gone() or renamed() when that has happened. "" where it holds no file. A
  // folder is held open, so that no later one gets its number and is taken for it.
  std::string keep(const Path& name);
  void gone(const Path& name, const std::string& kept, bool folder);
  void renamed(const Path& from, const Path& to, const std::string& kept, bool exchanged);

  // zeros: lost bytes read as zeros; else the file is shorter.
  void lose_bytes(bool zeros);
  // The latest first; also_removals: what was removed is there again.
  void lose_names(bool also_removals);

 private:
  using Id = std::pair<dev_t, ino_t>;
  struct Dirty {
    int fd = -1;           // of our own: it stays when the program closes its
    long durable_bytes = 0;
  };
  enum class Kind { kMadeFile, kMadeFolder, kGoneFile, kGoneFolder, kRenamed, kExchanged };
  struct Change {
    Kind kind;
    std::string name, from, kept;
    std::vector<Id> folders;  // to be synced before it is sure
  };

  void add(Kind kind, const Path& name, const Path& from, const std::string& kept);
  void undo(const Change& change) const;

  std::string aside_;
  long kept_ = 0;
  std::map<Id, Dirty> dirty_;
  std::vector<Change> changes_;
};

}  // namespace nibble::faults
