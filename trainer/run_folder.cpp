#include "trainer/run_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <system_error>

#include "core/error.h"
#include "core/file.h"
#include "core/durable_names.h"

namespace nibble::trainer {
namespace fs = std::filesystem;
namespace {

constexpr const char* kLockFile = "run.lock";

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text.data();
}

void write_all(int fd, const std::string& text, const fs::path& path) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw IoError("cannot write", path.string(), errno);
    done += static_cast<size_t>(n);
  }
}

// What the lock's holder wrote into it, on one line.
std::string holder(int fd) {
  std::array<char, 256> buffer{};
  const ssize_t n = ::pread(fd, buffer.data(), buffer.size(), 0);
  std::string text(buffer.data(), n > 0 ? static_cast<size_t>(n) : 0);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return text.empty() ? "unknown" : text;
}

std::string own_identity() {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  return fmt::format("pid {}, started {}, on {}\n", ::getpid(), utc_now(), host.data());
}

// What a name stands for now, compared with what was opened under it.
enum class Name : uint8_t { kSame, kOther, kGone };

Name compare(const fs::path& path, int fd) {
  struct stat named {}, opened {};
  if (::stat(path.c_str(), &named) != 0) return errno == ENOENT || errno == ENOTDIR ? Name::kGone : Name::kSame;  // else writing will tell
  if (::fstat(fd, &opened) != 0) return Name::kSame;
  return named.st_dev == opened.st_dev && named.st_ino == opened.st_ino ? Name::kSame : Name::kOther;
}

int take_lock(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) {
    throw IoError("cannot create the run's lock; choose an output_dir that you may write to", path.string(), errno);
  }
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    const std::string who = reason == EWOULDBLOCK ? holder(fd) : "";
    ::close(fd);
    if (reason == EWOULDBLOCK) {
      throw IoError(fmt::format("another run is writing here ({}); wait for it, stop it, or choose another output_dir", who),
                    path.string());
    }
    throw IoError("cannot lock the run folder; choose an output_dir on a file system with locks", path.string(), reason);
  }
  try {
    if (::ftruncate(fd, 0) != 0) throw IoError("cannot write", path.string(), errno);
    write_all(fd, own_identity(), path);
  } catch (...) {
    ::close(fd);
    throw;
  }
  return fd;
}

}  // namespace

RunFolder::RunFolder(const fs::path& path) : path_(path) {
  std::error_code error;
  make_folders(path_, error);
  if (error) {
    throw IoError("cannot create output_dir; choose a folder that you may write to", path_.string(), error.value());
  }
  folder_fd_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder_fd_ < 0) throw IoError("cannot open output_dir; choose a folder that you may read and write", path_.string(), errno);
  try {
    lock_fd_ = take_lock(path_ / kLockFile);
  } catch (...) {
    ::close(folder_fd_);
    throw;
  }
  log_fd_ = ::open(log_path().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (log_fd_ < 0) {
    const int reason = errno;
    ::close(lock_fd_);
    ::close(folder_fd_);
    throw IoError("cannot write the run's log", log_path().string(), reason);
  }
}

RunFolder::~RunFolder() {
  // The file stays: to delete it would let two later runs lock two different files of one name.
  ::close(log_fd_);
  ::close(lock_fd_);
  ::close(folder_fd_);
}

void RunFolder::expect_there() const {
  if (compare(path_, folder_fd_) != Name::kSame) {
    throw IoError("the run folder was deleted, moved or replaced while the run was writing to it; put it back and continue with --resume, or start again",
                  path_.string());
  }
  // Somebody who deletes the lock alone harms nobody until another run makes a new one.
  if (compare(path_ / kLockFile, lock_fd_) == Name::kOther) {
    throw IoError("run.lock was replaced: another run writes to this folder now; stop one of the two, and continue with --resume", path_.string());
  }
}

void RunFolder::write_config(const std::string& yaml) { write_text_atomic(config_path(), yaml); }

void RunFolder::log(const std::string& text) { write_all(log_fd_, fmt::format("{} {}\n", utc_now(), text), log_path()); }

}  // namespace nibble::trainer
