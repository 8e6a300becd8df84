#include "core/disk_space.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <limits>
#include <system_error>

#include "core/error.h"

namespace nibble {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kWatchBytes = int64_t{64} << 20;
constexpr int64_t kKeepingShare = 100;  // one byte in so many is the file system's own: block lists, ends of blocks

[[noreturn]] void refuse(const fs::path& path, const std::string& what, const std::string& needs, int64_t free, const std::string& remedy) {
  throw IoError(fmt::format("{} {}, and {} are free there; {}", what, needs, disk_bytes_text(free), remedy), path.string());
}

}  // namespace

std::optional<int64_t> free_disk_bytes(const fs::path& path) {
  std::error_code error;
  fs::path folder = fs::absolute(path, error);
  if (error) return std::nullopt;
  while (!fs::is_directory(folder, error) && folder.has_relative_path()) folder = folder.parent_path();
  struct statvfs status {};
  if (::statvfs(folder.c_str(), &status) != 0 || status.f_blocks == 0) return std::nullopt;
  const uint64_t unit = status.f_frsize != 0 ? status.f_frsize : status.f_bsize;
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (unit == 0) return std::nullopt;
  return static_cast<int64_t>(std::min<uint64_t>(status.f_bavail, kMost / unit) * unit);
}

void expect_disk_space(const fs::path& path, int64_t bytes, const std::string& what, const std::string& remedy) {
  const auto free = free_disk_bytes(path);
  if (!free || *free - *free / kKeepingShare >= bytes) return;
  refuse(path, what, fmt::format("needs {}", disk_bytes_text(bytes)), *free, remedy);
}

void DiskWatch::wrote(int64_t bytes) {
  written_bytes_ += bytes;
  if (written_bytes_ - looked_at_bytes_ < kWatchBytes) return;
  looked_at_bytes_ = written_bytes_;
  const auto free = free_disk_bytes(path_);
  if (!free || *free >= kWatchBytes) return;
  refuse(path_, what_, fmt::format("has {} already and is not done", disk_bytes_text(written_bytes_)), *free, remedy_);
}

std::string disk_bytes_text(int64_t bytes) {
  constexpr double kKib = 1024.0;
  const auto size = static_cast<double>(bytes);
  if (size >= kKib * kKib * kKib) return fmt::format("{:.1f} GiB", size / (kKib * kKib * kKib));
  if (size >= kKib * kKib) return fmt::format("{:.1f} MiB", size / (kKib * kKib));
  return fmt::format("{:.0f} KiB", size / kKib);
}

}  // namespace nibble
