// Training runs under faults (workload.h).
#pragma once

#include "tests/faults/workload.h"

namespace nibble::faults {

class TrainWorkload final : public Workload {
 public:
  // settings: words for --set; "key=@folder" names a folder below a trial's. Makes the uninterrupted run.
  TrainWorkload(const test::RunWorkshop& shop, std::string name, std::vector<std::string> watched, std::vector<std::string> settings);

  std::vector<std::string> arguments(const std::filesystem::path& trial) const override;
  std::string after_fault(const std::filesystem::path& trial, const std::vector<TracedOperation>& done) const override;
  std::string after_again(const test::ProgramResult& result, const std::vector<TracedOperation>& done) const override;
  std::string at_end(const std::filesystem::path& trial) const override;

 private:
  const test::RunWorkshop& shop_;
  const std::vector<std::string> settings_;
  const std::filesystem::path reference_;
};

}  // namespace nibble::faults
