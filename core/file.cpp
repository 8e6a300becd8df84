#include "core/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include "core/durable_names.h"
#include "core/error.h"
#include "core/mapping_guard.h"
#include "core/partial_file.h"

namespace nibble {
namespace fs = std::filesystem;
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr int64_t kWritebackBytes = int64_t{16} << 20;  // given to the disk at a time

// A file descriptor that closes itself. Opening never waits: a pipe's other end may never come, and what is opened is looked at
// before it is read (regular_size).
class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags, const char* doing) : fd_(::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0644)) {
    if (fd_ < 0) throw IoError(doing, path.string(), errno);
  }
  Descriptor(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// What an open regular file is. A folder opens for reading without an error, so it is told apart here.
struct stat regular_status(int fd, const fs::path& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw IoError("cannot read the file's size", path.string(), errno);
  if (S_ISDIR(status.st_mode)) throw IoError("cannot read the file: it is a folder", path.string());
  if (!S_ISREG(status.st_mode)) throw IoError("cannot read the file: it is not a regular file", path.string());
  return status;
}

int64_t regular_size(int fd, const fs::path& path) { return regular_status(fd, path).st_size; }

// Reads to the end in pieces: memory use does not depend on the file's size.
template <typename Visit>
void read_pieces(int fd, const fs::path& path, Visit visit) {
  std::vector<char> piece(kBufferBytes);
  for (;;) {
    const ssize_t got = ::read(fd, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw IoError("cannot read the file", path.string(), errno);
    if (got == 0) return;
    visit(std::string_view(piece.data(), static_cast<size_t>(got)));
  }
}

[[noreturn]] void throw_write_error(const fs::path& path, int error) {
  if (error == ENOSPC || error == EDQUOT) {
    throw IoError("cannot write: the disk or quota is full; free some space, or write to another disk", path.string(), error);
  }
  throw IoError("cannot write the file", path.string(), error);
}

void sync_path(const fs::path& path, int flags) {
  const Descriptor file(path, flags, "cannot open what was just written");
  // Some file systems refuse fsync of a folder; they have nothing to flush there.
  if (::fsync(file.get()) != 0 && errno != EINVAL && errno != EROFS) throw_write_error(path, errno);
}

void sync_tree(const fs::path& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_symlink()) continue;
    if (entry.is_directory()) sync_path(entry.path(), O_RDONLY | O_DIRECTORY);
    if (entry.is_regular_file()) sync_path(entry.path(), O_RDONLY);
  }
  sync_path(folder, O_RDONLY | O_DIRECTORY);
}

fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

void create_folders(const fs::path& folder) {
  std::error_code error;
  make_folders(folder, error);
  if (error) throw IoError("cannot create the folder", folder.string(), error.value());
}

// Writes all of it, and has the disk begin with whole stretches of the file while the rest is still being made, so that closing
// does not wait for all of it.
void put(int fd, std::string_view bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), std::min(bytes.size(), static_cast<size_t>(kWritebackBytes)));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_write_error(path, errno);
    bytes.remove_prefix(static_cast<size_t>(written));
    const int64_t end = ::lseek(fd, 0, SEEK_CUR), begin = (end - written) / kWritebackBytes * kWritebackBytes;
    if (end < 0 || end / kWritebackBytes * kWritebackBytes == begin) continue;
    // A hint: where the file system has none of it, fsync does all the work.
    (void)::sync_file_range(fd, begin, end / kWritebackBytes * kWritebackBytes - begin, SYNC_FILE_RANGE_WRITE);
  }
}

std::string hex(XXH128_hash_t hash) { return fmt::format("{:016x}{:016x}", hash.high64, hash.low64); }

}  // namespace

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const Descriptor file(path, O_RDONLY, "cannot open the file");
  const struct stat status = regular_status(file.get(), path);
  const int64_t size = status.st_size;
  if (size == 0) return;
  void* data = ::mmap(nullptr, static_cast<size_t>(size), PROT_READ, MAP_SHARED, file.get(), 0);
  if (data == MAP_FAILED) throw IoError("cannot map the file", path.string(), errno);
  data_ = static_cast<const std::byte*>(data);
  size_ = size;
  enter_mapping(bytes(), path.string(), status);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  leave_mapping(bytes());
  ::munmap(const_cast<std::byte*>(data_), static_cast<size_t>(size_));
}

void MappedFile::drop(int64_t offset, int64_t size) const {
  if (data_ == nullptr || size <= 0 || offset < 0 || offset >= size_) return;
  const int64_t page = ::sysconf(_SC_PAGESIZE);
  const int64_t begin = offset / page * page;
  const int64_t end = offset + std::min(size, size_ - offset);
  // A hint: where the kernel refuses, the pages stay.
  (void)::madvise(const_cast<std::byte*>(data_) + begin, static_cast<size_t>(end - begin), MADV_DONTNEED);
}

FileWriter::FileWriter(const fs::path& path) : path_(path) {
  Descriptor file(path, O_WRONLY | O_CREAT | O_TRUNC, "cannot create the file");
  XXH3_state_t* hash = XXH3_createState();
  if (hash == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(hash);
  hash_ = hash;
  fd_ = file.release();
}

FileWriter::~FileWriter() {
  if (fd_ >= 0) ::close(fd_);
  XXH3_freeState(static_cast<XXH3_state_t*>(hash_));
}

void FileWriter::write(std::span<const std::byte> bytes) {
  if (fd_ < 0) throw IoError("cannot write the file: it was closed", path_.string());
  XXH3_128bits_update(static_cast<XXH3_state_t*>(hash_), bytes.data(), bytes.size());
  size_ += static_cast<int64_t>(bytes.size());
  const char* data = reinterpret_cast<const char*>(bytes.data());
  while (!bytes.empty()) {
    if (buffer_.empty() && bytes.size() >= kBufferBytes) return put(fd_, {data, bytes.size()}, path_);  // nothing to gather
    const size_t take = std::min(bytes.size(), kBufferBytes - buffer_.size());
    buffer_.append(data, take);
    data += take;
    bytes = bytes.subspan(take);
    if (buffer_.size() == kBufferBytes) flush();
  }
}

void FileWriter::flush() {
  put(fd_, buffer_, path_);
  buffer_.clear();
}

void FileWriter::close() {
  if (fd_ < 0) return;
  flush();
  if (::fsync(fd_) != 0 && errno != EINVAL) throw_write_error(path_, errno);
  // Also a network file system's last chance to say that the disk is full.
  if (::close(std::exchange(fd_, -1)) != 0 && errno != EINTR) throw_write_error(path_, errno);
}

std::string FileWriter::xxh3_128() const { return hex(XXH3_128bits_digest(static_cast<const XXH3_state_t*>(hash_))); }

void FileWriter::restart_xxh3() { XXH3_128bits_reset(static_cast<XXH3_state_t*>(hash_)); }

StagedFolder::StagedFolder(fs::path final_path) : final_(std::move(final_path)) {
  if (!final_.has_filename()) final_ = final_.parent_path();  // "out/" names the folder "out"
  staging_ = staging_name(final_);
  create_folders(parent_of(final_));
  std::error_code error;
  fs::remove_all(staging_, error);
  if (error) throw IoError("cannot remove what an earlier run left", staging_.string(), error.value());
  fs::create_directory(staging_, error);
  if (error) throw IoError("cannot create the folder", staging_.string(), error.value());
}

StagedFolder::~StagedFolder() {
  std::error_code error;
  if (!committed_) fs::remove_all(staging_, error);
}

void StagedFolder::commit() {
  try {
    sync_tree(staging_);
  } catch (const fs::filesystem_error& error) {
    throw IoError("cannot list what was just written", error.path1().string(), error.code().value());
  }
  std::error_code error, removing;
  fs::path replaced = staging_;  // where the old folder is until it is gone
  if (fs::exists(final_, error)) {
    // The two change places in one step, so that the final name always holds a whole folder; then the old one goes.
    if (::renameat2(AT_FDCWD, staging_.c_str(), AT_FDCWD, final_.c_str(), RENAME_EXCHANGE) != 0) {
      // A file system that cannot exchange: for a moment there is no folder of the final name.
      replaced = fmt::format("{}.old{}", staging_.string(), kPartialSuffix);
      fs::rename(final_, replaced, error);
      if (!error) fs::rename(staging_, final_, error);
      if (error) {
        std::error_code ignored;
        if (!fs::exists(final_, ignored)) fs::rename(replaced, final_, ignored);
        throw IoError("cannot replace the folder", final_.string(), error.value());
      }
    }
    committed_ = true;
    // First, or a power cut may bring the old name back after its files went.
    sync_path(parent_of(final_), O_RDONLY | O_DIRECTORY);
    fs::remove_all(replaced, removing);
  } else {
    fs::rename(staging_, final_, error);
    if (error) throw IoError("cannot give the folder its name", final_.string(), error.value());
    committed_ = true;
    sync_path(parent_of(final_), O_RDONLY | O_DIRECTORY);
  }
  if (removing) throw IoError("the new folder is in its place, but what it replaced cannot be removed", replaced.string(), removing.value());
}

fs::path StagedFolder::staging_name(const fs::path& final_path) {
  const fs::path named = final_path.has_filename() ? final_path : final_path.parent_path();
  return named.parent_path() / fmt::format(".{}{}", named.filename().string(), kPartialSuffix);
}

void StagedFolder::remove_partial(const fs::path& folder) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error == std::errc::no_such_file_or_directory) return;
  if (error) throw IoError("cannot list the folder", folder.string(), error.value());
  std::vector<fs::path> leftovers;
  for (const auto& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (name.size() > 1 + kPartialSuffix.size() && name.front() == '.' && name.ends_with(kPartialSuffix)) {
      leftovers.push_back(entry.path());
    }
  }
  for (const fs::path& leftover : leftovers) {
    fs::remove_all(leftover, error);
    if (error) throw IoError("cannot remove what an earlier run left", leftover.string(), error.value());
  }
}

std::string read_text(const fs::path& path) {
  const Descriptor file(path, O_RDONLY, "cannot open the file");
  std::string text;
  text.reserve(static_cast<size_t>(regular_size(file.get(), path)));
  read_pieces(file.get(), path, [&](std::string_view piece) { text.append(piece); });
  return text;
}

void write_text_atomic(const fs::path& path, std::string_view text) {
  const fs::path staging = StagedFolder::staging_name(path);
  std::error_code error;
  try {
    FileWriter writer(staging);
    writer.write(text);
    writer.close();
  } catch (...) {
    fs::remove(staging, error);
    throw;
  }
  fs::rename(staging, path, error);
  if (error) {
    std::error_code ignored;
    fs::remove(staging, ignored);
    throw IoError("cannot give the file its name", path.string(), error.value());
  }
  sync_path(parent_of(path), O_RDONLY | O_DIRECTORY);
}

std::string file_xxh3_128(const fs::path& path) {
  const Descriptor file(path, O_RDONLY, "cannot open the file");
  regular_size(file.get(), path);
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_128bits_reset(&state);
  read_pieces(file.get(), path, [&](std::string_view piece) { XXH3_128bits_update(&state, piece.data(), piece.size()); });
  return hex(XXH3_128bits_digest(&state));
}

std::string xxh3_128(std::string_view bytes) { return hex(XXH3_128bits(bytes.data(), bytes.size())); }

}  // namespace nibble
