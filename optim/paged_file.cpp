// Paged state in a mapped file, for a CPU whose budget does not hold it all.
//
// The file loses its name as soon as it is open, so that nothing is left behind, whatever ends the process. Its blocks are
// reserved at once (posix_fallocate): a disk that is too full is an error before training, not a SIGBUS in the middle of
// it. A page that leaves is taken out of the process's memory and its writing to disk begins; when the next one leaves,
// that has usually happened, and the page leaves the kernel's cache as well.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "core/disk_space.h"
#include "core/error.h"
#include "core/partial_file.h"
#include "optim/paged_backend.h"
#include "optim/paged_mapping.h"

namespace nibble::optim {
namespace {

constexpr const char* kAdvice = "free some space, raise paged_budget_mib, lower lora_r, or use an 8-bit optimizer";

// An open file without a name in `folder`, of `bytes` reserved bytes that read as zeros.
class NamelessFile {
 public:
  NamelessFile(const std::filesystem::path& folder, int64_t bytes) : folder_(folder.string()) {
    expect_disk_space(folder, bytes, "paged optimizer state", kAdvice);
    // Killed before the name is gone, a run leaves it behind; of this form, the next run removes it (StagedFolder::remove_partial).
    std::string name = (folder / fmt::format(".optimizer-state-XXXXXX{}", kPartialSuffix)).string();
    fd_ = mkostemps(name.data(), static_cast<int>(kPartialSuffix.size()), O_CLOEXEC);
    if (fd_ < 0) fail("cannot make a file for paged optimizer state", errno);
    unlink(name.c_str());
    if (const int error = posix_fallocate(fd_, 0, bytes); error != 0) {
      close(fd_);
      fail(fmt::format("cannot reserve {} MiB for paged optimizer state; {}", (bytes + (1 << 20) - 1) >> 20, kAdvice), error);
    }
  }
  NamelessFile(const NamelessFile&) = delete;
  ~NamelessFile() { close(fd_); }

  int fd() const { return fd_; }
  [[noreturn]] void fail(const std::string& what, int error) const { throw IoError(what, folder_, error); }

 private:
  std::string folder_;
  int fd_ = -1;
};

class FileBackend final : public PageBackend {
 public:
  FileBackend(int64_t arena_bytes, const std::filesystem::path& folder) : file_(folder, arena_bytes), map_(arena_bytes, file_.fd()) {
    if (!map_.valid()) file_.fail(fmt::format("cannot map {} MiB of paged optimizer state", arena_bytes >> 20), errno);
  }

  Residency residency() const override { return Residency::kSame; }

  // The kernel reads ahead while the caller goes on.
  void bring(std::span<const PageMove> pages) override {
    for (const PageMove& page : pages) madvise(map_.at(page.begin), static_cast<size_t>(page.bytes), MADV_WILLNEED);
  }

  void evict(std::span<const PageMove> pages) override {
    for (const PageMove& page : pages) {
      finish();
      if (madvise(map_.at(page.begin), static_cast<size_t>(page.bytes), MADV_DONTNEED) != 0) {
        file_.fail("cannot release a page of optimizer state", errno);
      }
      if (page.dirty) flush(page, SYNC_FILE_RANGE_WRITE);
      leaving_ = page;
    }
  }

  void write_back(std::span<const PageMove>) override {}

  void finish() override {
    if (!leaving_) return;
    if (leaving_->dirty) flush(*leaving_, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    // Advice: a file system that keeps the page in its cache still gives it up when memory is short.
    static_cast<void>(posix_fadvise(file_.fd(), leaving_->begin, leaving_->bytes, POSIX_FADV_DONTNEED));
    leaving_.reset();
  }

  void before_use(size_t) override {}
  void after_use(size_t) override {}
  std::byte* address(int64_t offset, int64_t, int64_t) const override { return map_.at(offset); }

  // Past the mapping, so that what a checkpoint reads does not become resident. Linux keeps both views of a file one.
  void read(int64_t offset, int64_t bytes, void* to) override {
    auto* at = static_cast<std::byte*>(to);
    while (bytes > 0) {
      const ssize_t n = pread(file_.fd(), at, static_cast<size_t>(bytes), offset);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) file_.fail(fmt::format("cannot read paged optimizer state at byte {}", offset), n < 0 ? errno : EIO);
      at += n, offset += n, bytes -= n;
    }
  }
  void write(int64_t offset, int64_t bytes, const void* from) override {
    const auto* at = static_cast<const std::byte*>(from);
    while (bytes > 0) {
      const ssize_t n = pwrite(file_.fd(), at, static_cast<size_t>(bytes), offset);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) file_.fail(fmt::format("cannot write paged optimizer state at byte {}", offset), n < 0 ? errno : EIO);
      at += n, offset += n, bytes -= n;
    }
  }

 private:
  // Only an error that loses data counts: a file system that knows no such call writes when it likes.
  void flush(const PageMove& page, unsigned flags) {
    if (sync_file_range(file_.fd(), page.begin, page.bytes, flags) == 0) return;
    if (errno == EIO || errno == ENOSPC || errno == EDQUOT) {
      file_.fail(fmt::format("cannot write paged optimizer state at byte {}", page.begin), errno);
    }
  }

  NamelessFile file_;
  Mapping map_;
  std::optional<PageMove> leaving_;  // out of the process's memory, perhaps not yet on disk
};

}  // namespace

std::unique_ptr<PageBackend> make_file_backend(int64_t arena_bytes, const std::filesystem::path& folder) {
  return std::make_unique<FileBackend>(arena_bytes, folder);
}

}  // namespace nibble::optim
