#include "gpu/memory_watch.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "gpu/runtime_table.h"
#include "tests/emulator/emulator.h"

namespace nibble::gpu {
namespace {

constexpr int64_t kMiB = 1 << 20;

TEST(MemoryWatch, CountsWhatWasAllocatedSinceItBegan) {
  emulator::reset({.memory_bytes = 8 * kMiB});
  const RuntimeTable& runtime = *test::emulated_module()->runtime;
  void* before = runtime.allocate(kMiB);
  MemoryWatch watch({test::emulated_module()});
  EXPECT_EQ(watch.look(), 0);
  void* first = runtime.allocate(2 * kMiB);
  EXPECT_EQ(watch.look(), 2 * kMiB);
  void* second = runtime.allocate(3 * kMiB);
  EXPECT_EQ(watch.look(), 5 * kMiB);
  runtime.release(second);
  EXPECT_EQ(watch.look(), 2 * kMiB);
  EXPECT_EQ(watch.peak_bytes(), 5 * kMiB);
  runtime.release(before);
  runtime.release(first);
  EXPECT_EQ(watch.look(), 0) << "less than before is not negative";
  emulator::fail_call("cudaMemGetInfo", 1, 719);
  EXPECT_THROW(watch.look(), CudaError);
}

TEST(MemoryWatch, IsZeroOnTheCpu) {
  MemoryWatch watch({});
  EXPECT_EQ(watch.look(), 0);
  EXPECT_EQ(watch.peak_bytes(), 0);
}

}  // namespace
}  // namespace nibble::gpu
