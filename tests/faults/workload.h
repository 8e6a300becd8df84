// What the sweep runs under faults: a verb of the binary on a tiny model, with what must hold after a fault and at the end.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/faults/faulty_run.h"

namespace nibble::faults {

class Workload {
 public:
  Workload(std::string name, std::vector<std::string> watched) : name(std::move(name)), watched(std::move(watched)) {}
  virtual ~Workload() = default;

  const std::string name;
  const std::vector<std::string> watched;  // folders below a trial's

  // Brings an empty trial's folder to where the fault is to come.
  virtual void prepare(const std::filesystem::path& trial) const { static_cast<void>(trial); }
  virtual std::vector<std::string> arguments(const std::filesystem::path& trial) const = 0;
  // The run that follows a fault: the same again, or its continuation.
  virtual std::vector<std::string> again(const std::filesystem::path& trial) const { return arguments(trial); }

  // The three below say what is wrong, "" where nothing is. After the fault; done: the operations that took place.
  virtual std::string after_fault(const std::filesystem::path& trial, const std::vector<TracedOperation>& done) const = 0;
  // After the run that followed, which ended with 0.
  virtual std::string after_again(const test::ProgramResult& result, const std::vector<TracedOperation>& done) const = 0;
  // At the end, whatever came before: the result is that of a run without faults.
  virtual std::string at_end(const std::filesystem::path& trial) const = 0;
};

// All of them, over a workshop that outlives them; runs the references. THROWS std::runtime_error where one of those fails.
std::vector<std::unique_ptr<Workload>> make_workloads(const test::RunWorkshop& shop, const std::vector<std::string>& names);
std::vector<std::string> workload_names();

}  // namespace nibble::faults
