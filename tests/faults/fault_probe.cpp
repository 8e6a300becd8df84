// fault_probe WORD...: does file operations one after another, for the fault layer's tests. Not run by hand.
//
//   put FILE TEXT      open with truncation, write, close           stream FILE TEXT   std::ofstream
//   more FILE TEXT     append with pwrite                           vector FILE TEXT   append with writev, in two pieces
//   size FILE BYTES    ftruncate        reserve FILE BYTES posix_fallocate
//   sync FILE|FOLDER   fsync            rename A B         std::filesystem::rename
//   swap A B           renameat2        remove PATH        std::filesystem::remove
//   remove_all PATH    copy A B         make FOLDER        std::filesystem::create_directories
//   hard A B           soft A B         temporary FOLDER   mkostemps
//   free FOLDER        statvfs's bytes, printed
//   watch FOLDER       a DiskWatch told of 63 MiB, and of 1 more; prints its refusal
//
// Prints "WORD: errno" for what failed and goes on; a write goes on until all of it is written or it fails.
#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "core/disk_space.h"
#include "core/error.h"

namespace {

namespace fs = std::filesystem;

class Opened {
 public:
  Opened(const std::string& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  Opened(const Opened&) = delete;
  ~Opened() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

int reason(bool good) { return good ? 0 : errno; }

// write(part of the text, its offset) until all is written; as our own writers do it.
template <class Write>
int write_all(const std::string& text, Write write) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = write(text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    done += static_cast<size_t>(n);
  }
  return 0;
}

int put(const std::string& path, const std::string& text) {
  const Opened file(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (file.get() < 0) return errno;
  return write_all(text, [&](const char* data, size_t size, off_t) { return ::write(file.get(), data, size); });
}

int more(const std::string& path, const std::string& text) {
  const Opened file(path, O_WRONLY);
  if (file.get() < 0) return errno;
  const off_t end = ::lseek(file.get(), 0, SEEK_END);
  return write_all(text, [&](const char* data, size_t size, off_t at) { return ::pwrite(file.get(), data, size, end + at); });
}

int vector(const std::string& path, std::string text) {
  const Opened file(path, O_WRONLY | O_APPEND);
  if (file.get() < 0) return errno;
  iovec pieces[2] = {{text.data(), 3}, {text.data() + 3, text.size() - 3}};
  return reason(::writev(file.get(), pieces, 2) == static_cast<ssize_t>(text.size()));
}

int stream(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  return reason(static_cast<bool>(file << text << std::flush));
}

int sync(const std::string& path) {
  const Opened file(path, O_RDONLY);
  return reason(::fsync(file.get()) == 0);
}

int temporary(const std::string& folder) {
  std::string name = folder + "/made-XXXXXX.end";
  const int fd = ::mkostemps(name.data(), 4, O_CLOEXEC);
  if (fd < 0) return errno;
  ::close(fd);
  return reason(::unlink(name.c_str()) == 0);
}

int free_bytes(const std::string& folder) {
  struct statvfs status {};
  if (::statvfs(folder.c_str(), &status) != 0) return errno;
  std::printf("free %llu of %llu\n", static_cast<unsigned long long>(status.f_bavail) * status.f_frsize, static_cast<unsigned long long>(status.f_blocks));
  return 0;
}

int watch(const std::string& folder) {
  nibble::DiskWatch disk(folder, "it", "make room");
  disk.wrote(int64_t{63} << 20);
  try {
    disk.wrote(int64_t{1} << 20);
  } catch (const nibble::IoError& error) {
    std::printf("%s\n", error.message().c_str());
  }
  return 0;
}

// The errno of the operation; -1: no such word.
int perform(const std::string& word, const std::string& a, const std::string& b) {
  std::error_code error;
  if (word == "put") return put(a, b);
  if (word == "more") return more(a, b);
  if (word == "vector") return vector(a, b);
  if (word == "stream") return stream(a, b);
  if (word == "size") return reason(::ftruncate(Opened(a, O_WRONLY).get(), std::stol(b)) == 0);
  if (word == "reserve") return ::posix_fallocate(Opened(a, O_WRONLY).get(), 0, std::stol(b));
  if (word == "swap") return reason(::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0);
  if (word == "rename") fs::rename(a, b, error);
  else if (word == "copy") fs::copy_file(a, b, error);
  else if (word == "hard") fs::create_hard_link(a, b, error);
  else if (word == "soft") fs::create_symlink(a, b, error);
  else return -1;
  return error.value();
}

int perform(const std::string& word, const std::string& path) {
  std::error_code error;
  if (word == "sync") return sync(path);
  if (word == "temporary") return temporary(path);
  if (word == "free") return free_bytes(path);
  if (word == "watch") return watch(path);
  if (word == "remove") fs::remove(path, error);
  else if (word == "remove_all") fs::remove_all(path, error);
  else if (word == "make") fs::create_directories(path, error);
  else return -1;
  return error.value();
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i + 1 < argc;) {
    const std::string word = argv[i], a = argv[i + 1];
    int error = perform(word, a);
    i += 2;
    if (error < 0 && i < argc) error = perform(word, a, argv[i++]);
    if (error != 0) std::printf("%s: %d\n", word.c_str(), error);
  }
  return 0;
}
