// What two runs of a RunWorkshop have in common, and waiting for a run to get somewhere.
#pragma once

#include <gtest/gtest.h>

#include <thread>

#include "tests/trainer/exact_metrics.h"
#include "tests/trainer/run_binary.h"

namespace nibble::test {

inline void expect_same_tensors(const RunWorkshop& shop, const std::string& run, const std::string& reference, int last) {
  for (const char* file : {"adapter_model.safetensors", "optimizer.safetensors"}) {
    const std::string name = fmt::format("checkpoint-{}/{}", last, file), bytes = file_bytes(shop / reference / name);
    EXPECT_FALSE(bytes.empty()) << name;
    EXPECT_TRUE(file_bytes(shop / run / name) == bytes) << run << "/" << name << " differs";
  }
}

inline void expect_same_run(const RunWorkshop& shop, const std::string& run, const std::string& reference, int last) {
  expect_same_tensors(shop, run, reference, last);
  const auto rows = exact_metrics(shop / run);
  EXPECT_FALSE(rows.empty());
  EXPECT_EQ(rows, exact_metrics(shop / reference));
}

// Waits until `done` or the program's end.
template <class Done>
bool wait_until(Program& program, const Done& done) {
  while (program.running()) {
    if (done()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return done();
}

// Bytes of a file, 0 where it is not there.
inline uintmax_t bytes_of(const std::filesystem::path& path) {
  std::error_code none;
  const uintmax_t bytes = std::filesystem::file_size(path, none);
  return none ? 0 : bytes;
}

}  // namespace nibble::test
