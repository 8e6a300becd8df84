// The run folder (output_dir): created, proved writable and locked before any time is spent on the run.
//
//   config.yaml      the effective configuration
//   run.lock         who writes here now: pid, start time, machine
//   metrics.jsonl    trainer/metrics.h
//   log.txt          what was printed, with the time
//   checkpoint-<n>/  io/checkpoint.h
//   blackbox-<n>/    of a step that went wrong: trainer/black_box.h
//
// The lock is the kernel's (flock on run.lock): it goes when the process goes, however it ends, so that a dead run never
// blocks the next one. The file's text is for people only.
#pragma once

#include <filesystem>
#include <string>

namespace nibble::trainer {

class RunFolder {
 public:
  // Creates the folder where it is missing, and takes its lock. THROWS IoError where it cannot be created or written, or
  // where another process is writing to it.
  explicit RunFolder(const std::filesystem::path& path);
  RunFolder(const RunFolder&) = delete;
  ~RunFolder();

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path config_path() const { return path_ / "config.yaml"; }
  std::filesystem::path metrics_path() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path log_path() const { return path_ / "log.txt"; }

  // THROWS IoError where the folder was deleted, moved or replaced since, or another run took its lock: what is written to it
  // from now on would be lost. Call it before writing what must not be.
  void expect_there() const;
  void write_config(const std::string& yaml);  // atomically. THROWS IoError
  void log(const std::string& text);           // one line of log.txt, with the time (UTC). THROWS IoError

 private:
  std::filesystem::path path_;
  int folder_fd_ = -1;
  int lock_fd_ = -1;
  int log_fd_ = -1;
};

}  // namespace nibble::trainer
