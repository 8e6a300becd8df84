// The fault layer: a library to preload into nibble (LD_PRELOAD) that takes the place of every C function by which a program
// changes files, and there kills it, fails or writes less, as environment variables say (fault_point.h).
//
// A function goes on to the one behind it (dlsym(RTLD_NEXT)) unless its path is watched and its turn has come. What libstdc++
// does for std::filesystem and for streams comes through here too, since it calls the C functions across libraries
// (fault_layer_test.cpp proves it for each); glibc's calls inside of itself do not, which is why fopen, remove, mkostemp and
// posix_fallocate are here by themselves. Memory that is mapped and written is not seen; nibble's is a file without a name.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "tests/faults/fault_point.h"

using namespace nibble::faults;

namespace {

// The function of this name behind this library.
#define NEXT(name)                                                                          \
  [] {                                                                                      \
    static const auto next = reinterpret_cast<decltype(&::name)>(::dlsym(RTLD_NEXT, #name)); \
    return next;                                                                            \
  }()

bool is_there(const Path& path) {
  struct stat status {};
  const int kept = errno;
  const bool there = ::lstat(path.c_str(), &status) == 0;
  errno = kept;
  return there;
}

bool is_folder(const Path& path) {
  struct stat status {};
  const int kept = errno;
  const bool folder = ::lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
  errno = kept;
  return folder;
}

int failed(int error) {
  errno = error;
  return -1;
}

// An open that may make or empty a file.
template <class Open>
int open_changing(const Path& path, Open open) {
  if (!is_watched(path)) return open();
  const Turn turn(Operation::kCreate, path);
  if (turn.error() != 0) return failed(turn.error());
  Unsynced* unsynced = turn.unsynced();
  const bool is_new = unsynced != nullptr && !is_there(path);
  const int fd = open();
  if (is_new && fd >= 0) unsynced->made(path, /*folder=*/false);
  return fd;
}

bool changes(int flags) { return (flags & (O_CREAT | O_TRUNC)) != 0; }

// A write of `count` bytes, by write(n) of at most that many.
template <class Write>
ssize_t write_watched(int fd, size_t count, Write write) {
  const Path path = Path::of_descriptor(fd);
  if (count == 0 || !is_watched(path)) return write(count);
  const Turn turn(Operation::kWrite, path);
  if (turn.error() != 0) return failed(turn.error());
  if (turn.unsynced() != nullptr) turn.unsynced()->before_write(fd);
  const size_t share = turn.share(count);
  ssize_t written = share > 0 ? write(share) : 0;
  if (!turn.halves()) return written;
  if (const int error = turn.after_half(); error != 0) return failed(error);
  return written != 0 ? written : write(count);  // of one byte there is no half
}

// Any other operation on one path. record(unsynced) where it was done and a power cut is asked for.
template <class Real, class Record>
int change(Operation operation, const Path& path, Real real, Record record) {
  if (!is_watched(path)) return real();
  const Turn turn(operation, path);
  if (turn.error() != 0) return failed(turn.error());
  const int result = real();
  if (result == 0 && turn.unsynced() != nullptr) record(*turn.unsynced());
  return result;
}

template <class Real>
int resize(int fd, Real real) {
  const Path path = Path::of_descriptor(fd);
  if (!is_watched(path)) return real();
  const Turn turn(Operation::kResize, path);
  if (turn.error() != 0) return failed(turn.error());
  if (turn.unsynced() != nullptr) turn.unsynced()->before_write(fd);
  return real();
}

int sync(int fd, int (*real)(int)) {
  const Path path = Path::of_descriptor(fd);
  if (!is_watched(path)) {
    const int result = real(fd);
    if (result == 0 && settings().cuts()) note_sync(fd);
    return result;
  }
  return change(Operation::kSync, path, [] { return 0; }, [&](Unsynced& unsynced) { unsynced.synced(fd); });
}

template <class Real>
int remove_name(const Path& path, bool folder, Real real) {
  if (!is_watched(path)) return real();
  const Turn turn(folder ? Operation::kRemoveFolder : Operation::kUnlink, path);
  if (turn.error() != 0) return failed(turn.error());
  Unsynced* unsynced = turn.unsynced();
  const std::string kept = unsynced != nullptr ? unsynced->keep(path) : "";
  const int result = real();
  if (result == 0 && unsynced != nullptr) unsynced->gone(path, kept, folder);
  return result;
}

template <class Real>
int rename_watched(const Path& from, const Path& to, unsigned flags, Real real) {
  if (!is_watched(from) && !is_watched(to)) return real();
  const Turn turn(Operation::kRename, from, to);
  if (turn.error() != 0) return failed(turn.error());
  Unsynced* unsynced = turn.unsynced();
  const bool exchanges = (flags & RENAME_EXCHANGE) != 0;
  const std::string kept = unsynced != nullptr && !exchanges ? unsynced->keep(to) : "";
  const int result = real();
  if (result == 0 && unsynced != nullptr) unsynced->renamed(from, to, kept, exchanges);
  return result;
}

template <class Real>
int make_folder(const Path& path, Real real) {
  // One that is there already is a question, not a change.
  if (!is_watched(path) || is_there(path)) return real();
  return change(Operation::kMakeFolder, path, real, [&](Unsynced& unsynced) { unsynced.made(path, /*folder=*/true); });
}

template <class Real>
int make_link(const Path& path, Real real) {
  return change(Operation::kLink, path, real, [&](Unsynced& unsynced) { unsynced.made(path, /*folder=*/false); });
}

// A temporary file, whose name is made by the real function: the template's folder decides.
template <class Real>
int make_temporary(char* name, Real real) {
  const Path folder = Path::of_name(AT_FDCWD, name);
  if (!is_watched(folder)) return real();
  const Turn turn(Operation::kCreate, folder);
  if (turn.error() != 0) return failed(turn.error());
  const int fd = real();
  if (fd >= 0 && turn.unsynced() != nullptr) turn.unsynced()->made(Path::of_name(AT_FDCWD, name), /*folder=*/false);
  return fd;
}

// The first `count` bytes of these.
std::vector<iovec> first_of(const iovec* pieces, int number, size_t count) {
  std::vector<iovec> first;
  for (int i = 0; i < number && count > 0; ++i) {
    first.push_back({pieces[i].iov_base, std::min(pieces[i].iov_len, count)});
    count -= first.back().iov_len;
  }
  return first;
}

template <class Status>
int tell_free(const Path& path, Status* status, int result) {
  const auto& free = settings().free;
  if (!free || result != 0 || !is_watched(path)) return result;
  if (*free == "fail") return failed(ENOSYS);
  if (*free == "none") {
    *status = Status{};
    return 0;
  }
  const unsigned long unit = status->f_frsize != 0 ? status->f_frsize : status->f_bsize;
  status->f_bavail = status->f_bfree = static_cast<unsigned long>(std::atoll(free->c_str())) / unit;
  return 0;
}

}  // namespace

// A mode_t behind the flags, where they ask for one.
#define READ_MODE(flags)                            \
  mode_t mode = 0;                                  \
  if (((flags) & (O_CREAT | O_TMPFILE)) != 0) {     \
    va_list rest;                                   \
    va_start(rest, flags);                          \
    mode = va_arg(rest, mode_t);                    \
    va_end(rest);                                   \
  }

#define LAYER_OPEN(name)                                                                        \
  int name(const char* path, int flags, ...) {                                                  \
    READ_MODE(flags)                                                                            \
    if (!changes(flags)) return NEXT(name)(path, flags, mode);                                  \
    return open_changing(Path::of_name(AT_FDCWD, path), [&] { return NEXT(name)(path, flags, mode); }); \
  }
#define LAYER_OPENAT(name)                                                                      \
  int name(int folder, const char* path, int flags, ...) {                                      \
    READ_MODE(flags)                                                                            \
    if (!changes(flags)) return NEXT(name)(folder, path, flags, mode);                          \
    return open_changing(Path::of_name(folder, path), [&] { return NEXT(name)(folder, path, flags, mode); }); \
  }
#define LAYER_CREAT(name)                                                                       \
  int name(const char* path, mode_t mode) {                                                     \
    return open_changing(Path::of_name(AT_FDCWD, path), [&] { return NEXT(name)(path, mode); }); \
  }
#define LAYER_FOPEN(name)                                                                       \
  FILE* name(const char* path, const char* mode) {                                              \
    if (std::string_view(mode).find_first_of("wa+") == std::string_view::npos) return NEXT(name)(path, mode); \
    FILE* file = nullptr;                                                                       \
    open_changing(Path::of_name(AT_FDCWD, path), [&] { return (file = NEXT(name)(path, mode)) != nullptr ? 0 : -1; }); \
    return file;                                                                                \
  }
#define LAYER_PWRITE(name, offset_type)                                                         \
  ssize_t name(int fd, const void* bytes, size_t count, offset_type offset) {                   \
    return write_watched(fd, count, [&](size_t n) { return NEXT(name)(fd, bytes, n, offset); }); \
  }
#define LAYER_FTRUNCATE(name, offset_type) \
  int name(int fd, offset_type size) noexcept { return resize(fd, [&] { return NEXT(name)(fd, size); }); }
#define LAYER_FALLOCATE(name, offset_type) \
  int name(int fd, int mode, offset_type offset, offset_type size) { return resize(fd, [&] { return NEXT(name)(fd, mode, offset, size); }); }
// These return the error instead of setting it.
#define LAYER_POSIX_FALLOCATE(name, offset_type)                                                \
  int name(int fd, offset_type offset, offset_type size) {                                      \
    int error = 0;                                                                              \
    const int result = resize(fd, [&] { return (error = NEXT(name)(fd, offset, size)) == 0 ? 0 : -1; }); \
    return result == 0 ? 0 : (error != 0 ? error : errno);                                      \
  }
#define LAYER_SENDFILE(name, offset_type)                                                       \
  ssize_t name(int to, int from, offset_type* offset, size_t count) noexcept {                  \
    return write_watched(to, count, [&](size_t n) { return NEXT(name)(to, from, offset, n); }); \
  }
#define LAYER_STATVFS(name, status_type)                                                        \
  int name(const char* path, status_type* status) noexcept {                                    \
    return tell_free(Path::of_name(AT_FDCWD, path), status, NEXT(name)(path, status));          \
  }

extern "C" {

LAYER_OPEN(open)
LAYER_OPEN(open64)
LAYER_OPENAT(openat)
LAYER_OPENAT(openat64)
LAYER_CREAT(creat)
LAYER_CREAT(creat64)
LAYER_FOPEN(fopen)
LAYER_FOPEN(fopen64)
int mkstemp(char* name) { return make_temporary(name, [&] { return NEXT(mkstemp)(name); }); }
int mkstemp64(char* name) { return make_temporary(name, [&] { return NEXT(mkstemp64)(name); }); }
int mkostemp(char* name, int flags) { return make_temporary(name, [&] { return NEXT(mkostemp)(name, flags); }); }
int mkostemp64(char* name, int flags) { return make_temporary(name, [&] { return NEXT(mkostemp64)(name, flags); }); }
int mkostemps(char* name, int suffix, int flags) { return make_temporary(name, [&] { return NEXT(mkostemps)(name, suffix, flags); }); }
int mkostemps64(char* name, int suffix, int flags) { return make_temporary(name, [&] { return NEXT(mkostemps64)(name, suffix, flags); }); }

ssize_t write(int fd, const void* bytes, size_t count) {
  return write_watched(fd, count, [&](size_t n) { return NEXT(write)(fd, bytes, n); });
}
LAYER_PWRITE(pwrite, off_t)
LAYER_PWRITE(pwrite64, off64_t)
ssize_t writev(int fd, const iovec* pieces, int number) {
  size_t all = 0;
  for (int i = 0; i < number; ++i) all += pieces[i].iov_len;
  return write_watched(fd, all, [&](size_t n) {
    const std::vector<iovec> first = first_of(pieces, number, n);
    return NEXT(writev)(fd, first.data(), static_cast<int>(first.size()));
  });
}
LAYER_SENDFILE(sendfile, off_t)
LAYER_SENDFILE(sendfile64, off64_t)
ssize_t copy_file_range(int from, off64_t* from_offset, int to, off64_t* to_offset, size_t count, unsigned flags) {
  return write_watched(to, count, [&](size_t n) { return NEXT(copy_file_range)(from, from_offset, to, to_offset, n, flags); });
}

LAYER_FTRUNCATE(ftruncate, off_t)
LAYER_FTRUNCATE(ftruncate64, off64_t)
LAYER_FALLOCATE(fallocate, off_t)
LAYER_FALLOCATE(fallocate64, off64_t)
LAYER_POSIX_FALLOCATE(posix_fallocate, off_t)
LAYER_POSIX_FALLOCATE(posix_fallocate64, off64_t)

int fsync(int fd) { return sync(fd, NEXT(fsync)); }
int fdatasync(int fd) { return sync(fd, NEXT(fdatasync)); }

int rename(const char* from, const char* to) noexcept {
  return rename_watched(Path::of_name(AT_FDCWD, from), Path::of_name(AT_FDCWD, to), 0, [&] { return NEXT(rename)(from, to); });
}
int renameat(int from_folder, const char* from, int to_folder, const char* to) noexcept {
  return rename_watched(Path::of_name(from_folder, from), Path::of_name(to_folder, to), 0,
                        [&] { return NEXT(renameat)(from_folder, from, to_folder, to); });
}
int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  return rename_watched(Path::of_name(from_folder, from), Path::of_name(to_folder, to), flags,
                        [&] { return NEXT(renameat2)(from_folder, from, to_folder, to, flags); });
}

int unlink(const char* name) noexcept {
  return remove_name(Path::of_name(AT_FDCWD, name), /*folder=*/false, [&] { return NEXT(unlink)(name); });
}
int unlinkat(int folder, const char* name, int flags) noexcept {
  return remove_name(Path::of_name(folder, name), (flags & AT_REMOVEDIR) != 0, [&] { return NEXT(unlinkat)(folder, name, flags); });
}
int rmdir(const char* name) noexcept {
  return remove_name(Path::of_name(AT_FDCWD, name), /*folder=*/true, [&] { return NEXT(rmdir)(name); });
}
int remove(const char* name) noexcept {
  const Path path = Path::of_name(AT_FDCWD, name);
  return remove_name(path, is_folder(path), [&] { return NEXT(remove)(name); });
}

int mkdir(const char* name, mode_t mode) noexcept {
  return make_folder(Path::of_name(AT_FDCWD, name), [&] { return NEXT(mkdir)(name, mode); });
}
int mkdirat(int folder, const char* name, mode_t mode) noexcept {
  return make_folder(Path::of_name(folder, name), [&] { return NEXT(mkdirat)(folder, name, mode); });
}
int link(const char* from, const char* to) noexcept {
  return make_link(Path::of_name(AT_FDCWD, to), [&] { return NEXT(link)(from, to); });
}
int symlink(const char* from, const char* to) noexcept {
  return make_link(Path::of_name(AT_FDCWD, to), [&] { return NEXT(symlink)(from, to); });
}

LAYER_STATVFS(statvfs, struct statvfs)
LAYER_STATVFS(statvfs64, struct statvfs64)

}  // extern "C"
