// Units: nn/arena. Arenas of a device, against the emulated one's limit.
#include "nn/arena.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/emulator/emulator.h"

namespace nibble::nn {
namespace {

constexpr int64_t kMib = 1 << 20;
constexpr int kOutOfMemory = 2, kLaunchFailure = 719;  // cudaError_t

class DeviceArena : public testing::Test {
 protected:
  void SetUp() override { emulator::reset({.memory_bytes = 40 * kMib}); }
  void TearDown() override { EXPECT_EQ(emulator::leaks(), ""); }
  Place place() {
    Place place{at::kCPU, {test::emulated_module(), nullptr}};
    place.account = &account_;
    return place;
  }
  MemoryAccount account_;
};

TEST_F(DeviceArena, AccountsForWholeBlocks) {
  {
    Arena arena(place(), MemoryPart::kSavedActivations);
    arena.take({1}, at::kByte);
    EXPECT_EQ(account_.in_use(MemoryPart::kSavedActivations, MemorySide::kDevice), emulator::memory_use().device_bytes);
    EXPECT_EQ(account_.total(MemorySide::kHost), 0);
  }
  EXPECT_EQ(account_.total(MemorySide::kDevice), 0);
  EXPECT_GT(account_.peak_total(MemorySide::kDevice), 0);
}

TEST_F(DeviceArena, SaysWhatTheDeviceHadNoRoomFor) {
  Arena arena(place(), MemoryPart::kSavedActivations);
  arena.take({20 * kMib}, at::kByte);
  const ArenaPart part(arena, MemoryPart::kLogits);
  try {
    arena.take({30 * kMib}, at::kByte);
    FAIL() << "more than the device has was given";
  } catch (const AllocationFailed& error) {
    EXPECT_EQ(error.part, MemoryPart::kLogits);
    EXPECT_EQ(error.side, MemorySide::kDevice);
    EXPECT_EQ(error.bytes, 30 * kMib);
    EXPECT_THAT(error.what(), testing::HasSubstr("cudaMalloc"));
  }
  EXPECT_EQ(account_.total(MemorySide::kDevice), 20 * kMib);
  EXPECT_LE(emulator::memory_use().peak_on_device_bytes, 40 * kMib);
}

TEST_F(DeviceArena, PassesOtherFailuresOnAsTheyAre) {
  Arena arena(place());
  emulator::fail_call("cudaMalloc", 1, kLaunchFailure);
  EXPECT_THROW(arena.take({8}, at::kByte), CudaError);
  emulator::fail_call("cudaMalloc", 1, kOutOfMemory);
  EXPECT_THROW(arena.take({8}, at::kByte), AllocationFailed);
  EXPECT_EQ(arena.take({8}, at::kByte).numel(), 8);
}

}  // namespace
}  // namespace nibble::nn
