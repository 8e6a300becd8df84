// One run of the binary under the fault layer, and what it did.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/trainer/run_binary.h"

namespace nibble::faults {

// What the layer is told (fault_point.h). An empty name: nothing happens, operations are counted.
struct FaultChoice {
  std::string name;
  int64_t point = 0;
};

struct TracedOperation {
  int64_t number = 0;
  std::string kind, path, to;
};

struct FaultyResult {
  test::ProgramResult program;
  bool hung = false;                    // it was ended after kPatienceSeconds
  std::vector<TracedOperation> trace;   // of the watched operations, in order
};

inline constexpr int kPatienceSeconds = 120;  // a run of these tests takes a tenth of one

// Runs nibble in the folder `home`, which gets its output; operations on home/<each of `watched`> are counted and meet the fault.
FaultyResult run_with_faults(const std::filesystem::path& home, const std::vector<std::string>& arguments, const std::vector<std::string>& watched,
                             const FaultChoice& fault, const std::string& free_space = "");

}  // namespace nibble::faults
