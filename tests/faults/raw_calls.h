// System calls that pass the fault layer by: what the layer itself does must neither be counted nor fail.
#pragma once

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>

namespace nibble::faults::raw {

inline int open(const char* path, int flags) { return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0644)); }
inline long write(int fd, const void* bytes, size_t count) { return ::syscall(SYS_write, fd, bytes, count); }
inline int truncate(int fd, long size) { return static_cast<int>(::syscall(SYS_ftruncate, fd, size)); }
inline int fallocate(int fd, int mode, long offset, long bytes) { return static_cast<int>(::syscall(SYS_fallocate, fd, mode, offset, bytes)); }
inline int rename(const char* from, const char* to, unsigned flags) {
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags));
}
inline int link(const char* from, const char* to) { return static_cast<int>(::syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0)); }
inline int unlink(const char* path) { return static_cast<int>(::syscall(SYS_unlinkat, AT_FDCWD, path, 0)); }
inline int rmdir(const char* path) { return static_cast<int>(::syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR)); }
inline int mkdir(const char* path) { return static_cast<int>(::syscall(SYS_mkdirat, AT_FDCWD, path, 0755)); }

// The end, now: as the kernel's out-of-memory killer or an impatient scheduler does it.
[[noreturn]] inline void die() {
  for (;;) {
    ::kill(::getpid(), SIGKILL);
    ::pause();
  }
}

}  // namespace nibble::faults::raw
