// Units: gpu/launch. The emulator itself: what it computes, and that each mistake it is for is found and named.
#include "tests/emulator/emulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <numeric>

#include "gpu/runtime_table.h"
#include "tests/emulator/failure.h"
#include "tests/emulator/self_test_kernels.h"

namespace nibble::emulator {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const gpu::RuntimeTable& runtime() { return *test::emulated_module()->runtime; }

// Two device arrays of 128 integers: 0, 1, 2, ... and whatever is there.
class Arrays {
 public:
  static constexpr int64_t kCount = 128, kBytes = kCount * sizeof(int);

  Arrays() {
    std::vector<int> values(kCount);
    std::iota(values.begin(), values.end(), 0);
    runtime().copy(in_, values.data(), kBytes, nullptr);
  }
  ~Arrays() {
    runtime().release(in_);
    runtime().release(out_);
  }

  void run(Mistake mistake) { add_neighbours(in_, out_, kCount, mistake, nullptr); }
  std::vector<int> out() const {
    std::vector<int> values(kCount);
    runtime().copy(values.data(), out_, kBytes, nullptr);
    return values;
  }

 private:
  int* in_ = static_cast<int*>(runtime().allocate(kBytes));
  int* out_ = static_cast<int*>(runtime().allocate(kBytes));
};

std::string failure_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const KernelFailure& failure) {
    return failure.what();
  }
  return "no failure";
}

std::string failure_of(Mistake mistake) {
  reset();
  Arrays arrays;
  return failure_of([&] { arrays.run(mistake); });
}

TEST(Kernels, RunWithBarriersAndSharedMemory) {
  reset();
  {
    Arrays arrays;
    arrays.run(Mistake::kNone);
    const std::vector<int> out = arrays.out();
    for (int i = 0; i < Arrays::kCount; ++i) ASSERT_EQ(out[i], i + i / 64 * 64 + (i + 32) % 64) << i;
  }
  EXPECT_EQ(leaks(), "");
}

TEST(Kernels, PassTheChecksIfTheyAreRight) {
  reset();
  Arrays arrays;
  const CheckedLaunches checked;
  EXPECT_NO_THROW(arrays.run(Mistake::kNone));
  EXPECT_EQ(arrays.out()[5], 5 + 37);
}

TEST(Mistakes, AMissingBarrierIsARace) {
  reset();
  Arrays arrays;
  const CheckedLaunches checked;
  EXPECT_THAT(failure_of([&] { arrays.run(Mistake::kMissingBarrier); }),
              AllOf(HasSubstr("add_neighbours_kernel: "), HasSubstr("allocation 2"), HasSubstr("a race")));
}

TEST(Mistakes, UninitializedSharedMemoryIsFound) {
  reset();
  Arrays arrays;
  const CheckedLaunches checked;
  EXPECT_THAT(failure_of([&] { arrays.run(Mistake::kUninitializedShared); }),
              AllOf(HasSubstr("byte 28 of allocation 2"), HasSubstr("shared memory that was not written")));
}

TEST(Mistakes, DivergenceSaysWhoWaitsWhere) {
  EXPECT_THAT(failure_of(Mistake::kDivergentBarrier),
              AllOf(HasSubstr("thread (0, 0) waits in __syncthreads"), HasSubstr("thread (32, 0) has returned")));
  EXPECT_THAT(failure_of(Mistake::kDivergentWarp),
              AllOf(HasSubstr("__shfl_xor_sync with mask 0xffffffff"), HasSubstr("thread (5, 0) has returned")));
  EXPECT_THAT(failure_of(Mistake::kLaneOutsideMask), HasSubstr("reads lane 20, which is not in the mask"));
  EXPECT_THAT(failure_of(Mistake::kEndlessWait), HasSubstr("waits for another block for ever"));
}

TEST(Mistakes, AccessOutOfBoundsNamesTheAllocationAndTheThread) {
  EXPECT_THAT(failure_of(Mistake::kReadPastTheEnd),
              AllOf(HasSubstr("thread (63, 0) of block (1, 0)"), HasSubstr("reads 0 bytes past the end of allocation 1 (512 bytes")));
  EXPECT_THAT(failure_of(Mistake::kWritePastTheEnd),
              AllOf(HasSubstr("thread (63, 0) of block (1, 0)"), HasSubstr("writes 0 bytes past the end of allocation 2")));
}

TEST(Mistakes, AWriteBeforeTheBeginningIsSeenAfterwards) {
  reset();
  Arrays arrays;
  EXPECT_EQ(leaks().find("before the beginning"), std::string::npos);
  arrays.run(Mistake::kWriteBeforeTheBeginning);
  EXPECT_THAT(leaks(), HasSubstr("bytes before the beginning of allocation 2 (512 bytes of device memory) were written"));
}

TEST(Mistakes, UseAfterFreeIsFound) {
  reset();
  int* out = static_cast<int*>(runtime().allocate(64));
  runtime().release(out);
  EXPECT_THAT(failure_of([&] { number_grid(out, 4, 1, nullptr); }), HasSubstr("writes byte 0 of allocation 1 (64 bytes of device memory), which is freed"));
}

TEST(Mistakes, AStackThatRunsOutIsAFailure) {
  reset();
  int value = 1;
  EXPECT_THAT(failure_of([&] { overrun_stack(&value, nullptr); }), HasSubstr("uses more stack than a thread of the emulator has"));
}

// After a failure the emulator is as good as new.
TEST(Mistakes, LeaveNothingBehind) {
  failure_of(Mistake::kDivergentBarrier);
  failure_of(Mistake::kReadPastTheEnd);
  reset();
  Arrays arrays;
  arrays.run(Mistake::kNone);
  EXPECT_EQ(arrays.out()[1], 1 + 33);
}

TEST(Operations, GiveWhatCudaSays) {
  reset();
  std::vector<unsigned> out(64 * kOperations, 0);
  run_operations(out.data(), nullptr);
  for (unsigned thread = 0; thread < 64; ++thread) {
    SCOPED_TRACE(thread);
    const unsigned lane = thread % 32, warp = 1000 + thread - lane;
    const unsigned* got = out.data() + thread * kOperations;
    EXPECT_EQ(got[0], warp + 3);
    EXPECT_EQ(got[1], warp + lane / 8 * 8 + 1);  // source 9 of 8 lanes is 1
    EXPECT_EQ(got[2], warp + (lane == 0 ? 0 : lane - 1));
    EXPECT_EQ(got[3], warp + (lane % 8 < 4 ? lane + 4 : lane));
    EXPECT_EQ(got[4], warp + (lane ^ 16));
    EXPECT_EQ(got[5], 0xAAAAAAAAu);
    EXPECT_EQ(got[6], thread < 32 ? 0u : 1u);
    EXPECT_EQ(got[7], thread < 32 ? 1u : 0u);
    EXPECT_EQ(got[8], lane < 16 ? warp + (lane ^ 1) : 0u);
    EXPECT_EQ(got[9], warp + (lane == 31 ? 31 : lane + 1));
    EXPECT_EQ(got[10], 2u);  // 3.0f is 0x40400000
    EXPECT_EQ(got[11], std::max(std::min(thread, 50u), 10u) + 64 + 1);
  }
}

TEST(Grids, HaveTwoDimensions) {
  reset();
  std::vector<int> grid(12, -1);
  number_grid(grid.data(), 4, 3, nullptr);
  for (int y = 0; y < 3; ++y) {
    for (int x = 0; x < 4; ++x) EXPECT_EQ(grid[y * 4 + x], 100 * y + x);
  }
}

TEST(Atomics, CountEveryThread) {
  reset();
  unsigned counter = 5;
  const Watch watch(&counter, sizeof counter);
  const CheckedLaunches checked;
  count_threads(&counter, 7, nullptr);
  EXPECT_EQ(counter, 5u + 7 * 256);
}

TEST(Log, NamesKernelsAsTheSourceDoes) {
  reset();
  Arrays arrays;
  clear_log();
  arrays.run(Mistake::kNone);
  ASSERT_EQ(log().size(), 1u);
  EXPECT_EQ(log()[0].name, "add_neighbours_kernel");
  EXPECT_EQ(log()[0].blocks, 2);
  EXPECT_EQ(log()[0].stream, 0);
}

}  // namespace
}  // namespace nibble::emulator
