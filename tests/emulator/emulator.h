// A CUDA device for tests that have none: the same .cu files as in libnibble_cuda.so, compiled by g++ and run on the CPU,
// and a stand-in for the CUDA runtime's functions. This header is what tests use; it needs no header of CUDA's.
//
//   emulator::reset({.memory_bytes = 1 << 20});
//   const gpu::Queue queue{test::emulated_module()};
//   ... code under test ...
//   EXPECT_EQ(emulator::leaks(), "");
//
// What a kernel must not do (threads that diverge at a barrier, access out of bounds) throws KernelFailure
// (tests/emulator/failure.h). Kernels may also work on ordinary memory, such as a CPU tensor's; what is out of bounds is
// known for emulated allocations only. One thread of the test's at a time may use the emulator.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gpu/module.h"

namespace nibble::test {

// The table of the emulated module. Always the same; valid before the first reset, too.
const gpu::ModuleTable* emulated_module();

}  // namespace nibble::test

namespace nibble::emulator {

// kEager: work is done when it is queued. kDeferred: when something waits for it (cudaStreamSynchronize, a query, a copy
// to ordinary memory), and no earlier, so that code that forgets to wait sees old values.
enum class Streams : uint8_t { kEager, kDeferred };

struct Device {
  int count = 1;
  int64_t memory_bytes = int64_t{8} << 30;
  bool concurrent_managed_access = true;  // false, as under WSL: prefetch and advice are refused
  bool tracks_managed = true;             // notice which side touches managed memory. A system call such as write() on
                                          // memory that is on the device then fails with EFAULT
  Streams streams = Streams::kEager;
};

// A fresh device: frees what was left, forgets counts, log, failures and queued work.
void reset(const Device& device = {});

// "" or a line for each allocation, stream and event that was not released, for damage in front of an allocation, and for
// a kernel that failed where the runtime could not say so (within cudaFree).
std::string leaks();

// Does all that is queued in a stream, and what it waits for: as if the device had turned to it first. 0: the default stream.
void run_stream(int number);

// The nth call (1: the next) from now on of a runtime function, "cudaMalloc" or "cudaLaunchKernelEx", fails with this
// cudaError_t and does nothing. 2 is cudaErrorMemoryAllocation, 719 cudaErrorLaunchFailure.
void fail_call(const std::string& function, int nth, int error);

int64_t calls(const std::string& function);  // since reset

struct LogEntry {
  // kCall: of the host, in the stream's order (gpu/in_order.h).
  enum Kind : uint8_t { kLaunch, kPrefetch, kAdvise, kCopy, kFill, kRecord, kWait, kSynchronize, kReplay, kCall };
  Kind kind = kLaunch;
  std::string name;               // of a kernel, "adamw_kernel<float>"; of a synchronization, the function
  int stream = 0;                 // 0: the default stream; others count from 1 as they are created
  const void* pointer = nullptr;  // prefetch, advice, fill, and a copy's destination
  const void* from = nullptr;     // a copy's source
  int64_t bytes = 0;
  int64_t blocks = 0;             // of a launch; of a replay, pieces of work, which have entries of their own when they are done
  int location = 0;               // of a prefetch or advice: a device, or gpu::kHost
  int event = 0;                  // of a record or wait, counted from 1
  int64_t done = -1;              // position in the order in which work was done, or -1 while it is queued
};
const std::vector<LogEntry>& log();  // in the order in which it was queued
void clear_log();

struct MemoryUse {
  int64_t device_bytes = 0;             // by cudaMalloc
  int64_t managed_bytes = 0;
  int64_t managed_on_device_bytes = 0;
  int64_t pinned_bytes = 0;
  int64_t peak_on_device_bytes = 0;     // of device_bytes + managed_on_device_bytes
  int64_t faults_by_kernels = 0;        // granules that a kernel touched where no prefetch had brought them
  int64_t faults_by_host = 0;           // granules that the host touched while they were on the device
  int64_t evictions = 0;                // granules that had to leave the device for want of room
};
MemoryUse memory_use();

// While one is alive, each launch runs twice, the second time with other bytes in uninitialized shared memory and blocks and
// threads in reverse order, and both must write the same: else KernelFailure says which allocation differs. What a
// kernel reads and writes must then be emulated memory or watched: anything else is worked on twice.
class CheckedLaunches {
 public:
  CheckedLaunches();
  ~CheckedLaunches();
  CheckedLaunches(const CheckedLaunches&) = delete;
  CheckedLaunches& operator=(const CheckedLaunches&) = delete;
};

// Makes ordinary memory part of the checks of CheckedLaunches.
class Watch {
 public:
  Watch(void* data, int64_t bytes);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  void* data_;
};

}  // namespace nibble::emulator
