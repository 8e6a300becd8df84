// One process at a time: an advisory lock on a file that exists for nothing else.
#pragma once

#include <filesystem>
#include <functional>

namespace nibble {

// Holds the lock of `path` (created where it is missing, and left behind) while it lives; the system releases it when the
// process ends, however it ends. Where the file system knows no locks, nothing is held and held() says so: what the lock is
// for must then be harmless, if wasteful, when two processes do it at once.
class FileLock {
 public:
  // Waits for the lock, calling `waiting` (which may throw) ten times a second. THROWS IoError where the file cannot be made.
  FileLock(const std::filesystem::path& path, const std::function<void()>& waiting);
  FileLock(const FileLock&) = delete;
  ~FileLock();

  bool held() const { return held_; }

 private:
  int fd_ = -1;
  bool held_ = false;
};

}  // namespace nibble
