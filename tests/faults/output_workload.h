// Verbs that write one thing under faults: it is the old one, or not there, or the whole new one (workload.h).
#pragma once

#include "tests/faults/file_tree.h"
#include "tests/faults/workload.h"

namespace nibble::faults {

// `export` of a checkpoint, where an export of an older one lies (replaces) or nothing.
class ExportWorkload final : public Workload {
 public:
  // source: a run folder with checkpoint-1 and checkpoint-2.
  ExportWorkload(const test::RunWorkshop& shop, std::string name, std::filesystem::path source, std::vector<std::string> options, bool replaces);

  void prepare(const std::filesystem::path& trial) const override;
  std::vector<std::string> arguments(const std::filesystem::path& trial) const override;
  std::string after_fault(const std::filesystem::path& trial, const std::vector<TracedOperation>& done) const override;
  std::string after_again(const test::ProgramResult&, const std::vector<TracedOperation>&) const override { return ""; }
  std::string at_end(const std::filesystem::path& trial) const override;

 private:
  std::vector<std::string> words(const char* checkpoint, const std::filesystem::path& out) const;

  const std::filesystem::path source_;
  const std::vector<std::string> options_;
  const bool replaces_;
  FileTree old_, new_;
};

// `preprocess` into a folder of its own.
class PreprocessWorkload final : public Workload {
 public:
  explicit PreprocessWorkload(const test::RunWorkshop& shop, std::string name);

  std::vector<std::string> arguments(const std::filesystem::path& trial) const override;
  std::string after_fault(const std::filesystem::path&, const std::vector<TracedOperation>&) const override { return ""; }
  std::string after_again(const test::ProgramResult& result, const std::vector<TracedOperation>& done) const override;
  std::string at_end(const std::filesystem::path& trial) const override;

 private:
  const test::RunWorkshop& shop_;
  FileTree expected_;
};

}  // namespace nibble::faults
