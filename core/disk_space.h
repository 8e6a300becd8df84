// How much a disk still takes, asked before much is written to it.
//
// The answer is the file system's (statvfs). A quota, a server or a thin volume may have less and tell it by the write that
// fails, so this refuses early where the answer is plain, and never stands for checking writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace nibble {

// Bytes that this user may still write where `path` lies or will lie: to the file system of its nearest folder that exists.
// nullopt where that does not say, or says that it has no blocks at all, as some network file systems do.
std::optional<int64_t> free_disk_bytes(const std::filesystem::path& path);

// THROWS IoError where less is free than `bytes` and what the file system needs to keep them (1 %): "WHAT needs 1.2 GiB, and
// 0.4 GiB are free there; REMEDY".
void expect_disk_space(const std::filesystem::path& path, int64_t bytes, const std::string& what, const std::string& remedy);

// For something that grows to a size that nobody knows before: looks at the disk with every 64 MiB, and THROWS IoError while
// there is still that much, so that other programs, and what follows, do not meet a full disk.
class DiskWatch {
 public:
  DiskWatch(std::filesystem::path path, std::string what, std::string remedy)
      : path_(std::move(path)), what_(std::move(what)), remedy_(std::move(remedy)) {}
  void wrote(int64_t bytes);

 private:
  std::filesystem::path path_;
  std::string what_, remedy_;
  int64_t written_bytes_ = 0, looked_at_bytes_ = 0;
};

std::string disk_bytes_text(int64_t bytes);  // "1.2 GiB", "35.0 MiB", "7 KiB"

}  // namespace nibble
